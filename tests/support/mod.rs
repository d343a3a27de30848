//! What every test stands on: a database and a simulator of its own, and a directory in which the binary runs. Knows no promise.

pub(crate) mod api;
pub(crate) mod boxes;
pub(crate) mod bucket;
pub(crate) mod dialogue;
pub(crate) mod figures;
pub(crate) mod files;
pub(crate) mod oracle;
pub(crate) mod other_user;
pub(crate) mod pooler;
pub(crate) mod protocol;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod running;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod snapshot;
pub(crate) mod staged;
pub(crate) mod state;
pub(crate) mod store_proxy;
pub(crate) mod terminal;
pub(crate) mod workdir;
pub(crate) mod world;

// The unit tests' cluster serves these tests as well: one implementation, one server for both.
use cursus::database::embedded;
#[path = "../../src/database/testing.rs"]
pub(crate) mod testing;

pub(crate) use api::{OtherClient, SCALE, page_requests, simulator, small};
pub(crate) use other_user::OtherUser;
pub(crate) use running::Running;
pub(crate) use site::Site;
pub(crate) use workdir::{Ran, Shared, Template, Workdir};
pub(crate) use world::World;
