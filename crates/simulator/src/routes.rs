//! Which paths under `/v2` there are, and what each shows. Knows no query and no row.

use super::fields::Resource;
use super::query::Scope;
use super::world::World;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    List(Resource, Scope),
    One(Resource, i64),
}

/// The resource that a path is about, whether or not what it names exists.
pub(crate) fn resource(path: &str) -> Option<Resource> {
    match segments(path).as_slice() {
        [list] | [list, _] | [_, _, list] => Resource::named(list),
        _ => None,
    }
}

/// `None` is a 404.
pub(crate) fn target(path: &str, world: &World) -> Option<Target> {
    use Resource::{
        Achievements, AchievementsUsers, Campus, CampusUsers, Coalitions, CoalitionsUsers, Cursus,
        CursusUsers, Locations, Projects, ProjectsUsers, ScaleTeams, Users,
    };
    let list = |resource, scope| Some(Target::List(resource, scope));
    let within = |parent, key: &str, resource, scope: fn(i64) -> Scope| {
        let id = world.find(parent, key)?;
        Some(Target::List(resource, scope(id)))
    };
    match segments(path).as_slice() {
        [name] => list(Resource::named(name)?, Scope::All),
        [
            name @ ("cursus" | "campus" | "projects" | "achievements" | "coalitions" | "users"),
            key,
        ] => {
            let resource = Resource::named(name)?;
            Some(Target::One(resource, world.find(resource, key)?))
        }
        ["cursus", key, "users"] => within(Cursus, key, Users, Scope::Cursus),
        ["cursus", key, "projects"] => within(Cursus, key, Projects, Scope::Cursus),
        ["cursus", key, "cursus_users"] => within(Cursus, key, CursusUsers, Scope::Cursus),
        ["campus", key, "users"] => within(Campus, key, Users, Scope::Campus),
        ["campus", key, "achievements"] => within(Campus, key, Achievements, Scope::Campus),
        ["campus", key, "locations"] => within(Campus, key, Locations, Scope::Campus),
        ["achievements", key, "achievements_users"] => {
            within(Achievements, key, AchievementsUsers, Scope::Achievement)
        }
        ["coalitions", key, "coalitions_users"] => {
            within(Coalitions, key, CoalitionsUsers, Scope::Coalition)
        }
        ["coalitions", key, "users"] => within(Coalitions, key, Users, Scope::Coalition),
        ["projects", key, "projects_users"] => within(Projects, key, ProjectsUsers, Scope::Project),
        ["projects", key, "scale_teams"] => within(Projects, key, ScaleTeams, Scope::Project),
        ["users", key, "locations"] => within(Users, key, Locations, Scope::User),
        ["users", key, "scale_teams"] => within(Users, key, ScaleTeams, Scope::User),
        ["users", key, "campus_users"] => within(Users, key, CampusUsers, Scope::User),
        ["users", key, "cursus_users"] => within(Users, key, CursusUsers, Scope::User),
        ["users", key, "projects_users"] => within(Users, key, ProjectsUsers, Scope::User),
        ["users", key, "coalitions_users"] => within(Users, key, CoalitionsUsers, Scope::User),
        _ => None,
    }
}

fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("/v2/").unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').collect()
}
