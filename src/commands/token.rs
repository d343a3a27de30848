//! `cursus token`: metadata of the token, never its value.

use serde_json::json;

use crate::cli::{Global, TokenCommand};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    command: TokenCommand,
) -> Result<Exit, Failure> {
    let client = settings.question_client(true)?;
    let token = match command {
        TokenCommand::Show => client.token_info().await?,
        TokenCommand::Refresh => client.refresh_token().await?,
    };
    if global.json {
        super::print_json(&json!({
            "host": settings.api_url.host(),
            "created_at": token.created.to_string(),
            "expires_at": token.expires.to_string(),
            "secret_valid_until": token.secret_valid_until.map(|time| time.to_string()),
            "scopes": token.scopes,
        }));
        return Ok(Exit::Done);
    }
    super::print_line(&format!(
        "host                   {}",
        settings.api_url.host()
    ));
    super::print_line(&format!("issued                 {:.0}", token.created));
    super::print_line(&format!("expires                {:.0}", token.expires));
    super::print_line(&format!(
        "client secret expires  {}",
        token
            .secret_valid_until
            .map_or_else(|| "unknown".to_owned(), |time| format!("{time:.0}"))
    ));
    super::print_line(&format!(
        "scopes                 {}",
        token.scopes.join(" ")
    ));
    Ok(Exit::Done)
}
