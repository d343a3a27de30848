//! Which paths under `/v2` there are, and what each shows. Knows no query and no row.

use super::fields::Resource::{
    self, Achievements, AchievementsUsers, CampusUsers, Coalitions, CoalitionsUsers, CursusUsers,
    Locations, Projects, ProjectsUsers, ScaleTeams, Users,
};
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

/// The lists below one row of another resource.
const NESTED: &[(Resource, &[Resource])] = &[
    (Resource::Cursus, &[Users, Projects, CursusUsers]),
    (Resource::Campus, &[Users, Achievements, Locations]),
    (Achievements, &[AchievementsUsers]),
    (Coalitions, &[CoalitionsUsers, Users]),
    (Projects, &[ProjectsUsers, ScaleTeams]),
    (
        Users,
        &[
            Locations,
            ScaleTeams,
            CampusUsers,
            CursusUsers,
            ProjectsUsers,
            CoalitionsUsers,
        ],
    ),
];

/// `None` is a 404.
pub(crate) fn target(path: &str, world: &World) -> Option<Target> {
    let lists = |parent| NESTED.iter().find(|(resource, _)| *resource == parent);
    match segments(path).as_slice() {
        [name] => Some(Target::List(Resource::named(name)?, Scope::All)),
        [name, key] => {
            let resource = Resource::named(name)?;
            lists(resource)?;
            Some(Target::One(resource, world.find(resource, key)?))
        }
        [parent, key, list] => {
            let (parent, list) = (Resource::named(parent)?, Resource::named(list)?);
            let (_, lists) = lists(parent)?;
            let id = world.find(parent, key)?;
            (lists.contains(&list)).then_some(Target::List(list, Scope::Of(parent, id)))
        }
        _ => None,
    }
}

fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("/v2/").unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').collect()
}
