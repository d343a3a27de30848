//! Which paths under `/v2` there are, and what each shows. Knows no query and no row.

use super::fields::Resource::{
    self, Achievements, AchievementsUsers, BlocDeadlines, Blocs, CampusUsers, Coalitions,
    CoalitionsUsers, CursusUsers, Events, EventsUsers, Exams, Locations, Projects, ProjectsUsers,
    QuestsUsers, ScaleTeams, Titles, TitlesUsers, Users,
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
        [list] | [list, _] | [_, _, list] | [_, _, _, _, list] => Resource::named(list),
        _ => None,
    }
}

/// The lists below one row of another resource.
const NESTED: &[(Resource, &[Resource])] = &[
    (
        Resource::Cursus,
        &[Users, Projects, CursusUsers, Events, Exams],
    ),
    (
        Resource::Campus,
        &[Users, Achievements, Locations, Events, Exams],
    ),
    (Achievements, &[AchievementsUsers]),
    (Coalitions, &[CoalitionsUsers, Users]),
    (Projects, &[ProjectsUsers, ScaleTeams]),
    (Events, &[EventsUsers]),
    (Exams, &[]),
    (Blocs, &[BlocDeadlines, Coalitions]),
    (Titles, &[TitlesUsers]),
    (
        Users,
        &[
            Locations,
            EventsUsers,
            QuestsUsers,
            TitlesUsers,
            ScaleTeams,
            CampusUsers,
            CursusUsers,
            ProjectsUsers,
            CoalitionsUsers,
        ],
    ),
];

/// The lists below a campus and a cursus.
const OF_BOTH: &[Resource] = &[Events, Exams];

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
        [campus, campus_key, cursus, cursus_key, list] => {
            let parents = (Resource::named(campus)?, Resource::named(cursus)?);
            let list = Resource::named(list)?;
            if parents != (Resource::Campus, Resource::Cursus) || !OF_BOTH.contains(&list) {
                return None;
            }
            let campus = (parents.0, world.find(parents.0, campus_key)?);
            let cursus = (parents.1, world.find(parents.1, cursus_key)?);
            Some(Target::List(list, Scope::Both(campus, cursus)))
        }
        _ => None,
    }
}

fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("/v2/").unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').collect()
}
