//! `cursus serve`: pages for a browser, until a signal ends it. Binds, says where, and notifies the service manager.

use serde_json::json;

use super::service::Manager;
use crate::cli::{Global, ServeArgs};
use crate::context::{Activity, Context};
use crate::exit::{Exit, Failure};
use crate::serve::{Options, Server};
use crate::settings::{Environment, Settings};

pub(super) async fn run(
    global: &Global,
    context: &Context,
    settings: Settings,
    arguments: &ServeArgs,
) -> Result<Exit, Failure> {
    let options = Options {
        listen: arguments.listen,
        hosts: arguments.host.clone(),
        token_file: arguments.token_file.clone(),
    };
    let command = settings.command;
    drop(settings);
    let (of, shared) = (global.clone(), context.clone());
    // The configuration may have changed since the last document.
    let resolve = move || Settings::resolve(&of, command, Environment::of_process(), &shared);
    let server = Server::bind(options, context.sessions().clone(), resolve).await?;
    serve(global, context, &server).await
}

/// Says where it is, and answers until a signal.
pub(super) async fn serve(
    global: &Global,
    context: &Context,
    server: &Server,
) -> Result<Exit, Failure> {
    context.begin(Activity::Waiting);
    let url = server.url();
    if global.json {
        super::print_json(&json!({ "url": url, "needs_token": server.needs_token() }));
    }
    super::note(&format!("serving {url} (Ctrl-C ends it)"));
    let manager = Manager::of_environment();
    manager.ready().await;
    manager.status(&format!("serving {url}")).await;
    tokio::select! {
        never = server.serve() => match never {},
        never = manager.stay_alive() => match never {},
    }
}
