//! The resources, and for each the fields that the API documents for filters, ranges and sorts, as one table. Data only.

use std::fmt;

use super::Unknowns;

macro_rules! resources {
    ($($variant:ident = $name:literal,)*) => {
        /// A set of rows that the simulator serves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Resource {
            $($variant,)*
        }

        impl Resource {
            pub(crate) const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

resources! {
    Cursus = "cursus",
    Campus = "campus",
    Projects = "projects",
    Achievements = "achievements",
    Coalitions = "coalitions",
    Users = "users",
    CursusUsers = "cursus_users",
    CampusUsers = "campus_users",
    ProjectsUsers = "projects_users",
    AchievementsUsers = "achievements_users",
    CoalitionsUsers = "coalitions_users",
    Locations = "locations",
    ScaleTeams = "scale_teams",
    Events = "events",
    EventsUsers = "events_users",
    Exams = "exams",
    Blocs = "blocs",
    BlocDeadlines = "bloc_deadlines",
    QuestsUsers = "quests_users",
    Titles = "titles",
    TitlesUsers = "titles_users",
}

impl Resource {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|resource| resource.name() == name)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fields of a resource that a query may name, and the order without `sort`: names with spaces between.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    filter: [&'static str; 2],
    range: &'static str,
    sort: [&'static str; 2],
    order: &'static str,
}

impl Fields {
    pub(crate) fn can_filter(&self, field: &str) -> bool {
        names(&self.filter).any(|name| name == field)
    }

    pub(crate) fn can_range(&self, field: &str) -> bool {
        names(&[self.range]).any(|name| name == field)
    }

    pub(crate) fn can_sort(&self, field: &str) -> bool {
        names(&self.sort).any(|name| name == field)
    }

    pub(crate) fn order(&self) -> impl Iterator<Item = &'static str> {
        self.order.split_whitespace()
    }
}

fn names(lists: &[&'static str]) -> impl Iterator<Item = &'static str> {
    lists.iter().flat_map(|list| list.split_whitespace())
}

const NEWEST: &str = "-created_at -id";

const CURSUS: &str = "id name created_at updated_at slug kind restricted is_subscriptable";
const CAMPUS: &str = "\
    id name created_at updated_at time_zone language_id slug main_email endpoint_id vogsphere_id content_email \
    time_of_community_service_started companies_mail address zip city country pro_needs_validation logo website facebook \
    twitter display_name email_extension help_url active open_to_job_offers default_hidden_phone tig_email \
    minimum_slot_duration alumni_system manual_alumnization_before_first_internship public";
const PROJECTS: &str = "id name created_at updated_at parent_id slug position";
const ACHIEVEMENTS: &str = "\
    id name internal_name kind tier description pedago visible nbr_of_success parent_id image created_at updated_at slug \
    position reward title_id";
const COALITIONS: &str = "id bloc_id user_id name image slug created_at updated_at color cover";
const USERS: &str =
    "id login email created_at updated_at first_name last_name pool_year pool_month kind status";
const CURSUS_USERS: &str =
    "id cursus_id user_id created_at updated_at end_at begin_at has_coalition blackholed_at level";
const CAMPUS_USERS: &str = "id user_id campus_id is_primary";
const PROJECTS_USERS: &str = "id project_id user_id created_at updated_at occurrence final_mark retriable_at marked_at status";
const ACHIEVEMENTS_USERS: &str =
    "id user_id achievement_id nbr_of_success created_at updated_at rewarded";
const COALITIONS_USERS: &str =
    "id coalition_id user_id created_at updated_at this_year_score this_year_score_updated_at";
const LOCATIONS: &str = "id user_id begin_at end_at primary host campus_id";
const EVENTS: &str = "\
    id begin_at end_at name description location kind max_people created_at updated_at prohibition_of_cancellation \
    difficulty remote";
const EVENTS_USERS: &str = "id event_id user_id";
const EXAMS: &str =
    "id begin_at end_at name location ip_range max_people nbr_subscribers created_at updated_at";
const BLOCS: &str = "id campus_id cursus_id squad_size created_at updated_at";
const BLOC_DEADLINES: &str = "id bloc_id coalition_id begin_at end_at created_at updated_at";
const QUESTS_USERS: &str = "id user_id quest_id end_at validated_at created_at updated_at";
const SCALE_TEAMS: &str = "id user_id begin_at created_at updated_at scale_id team_id final_mark truant_id flag_id filled_at";

pub(crate) fn fields(resource: Resource, unknowns: &Unknowns) -> Fields {
    let all = |fields, order| Fields {
        filter: [fields, ""],
        range: fields,
        sort: [fields, ""],
        order,
    };
    let only_if = |known: bool, fields| if known { fields } else { "" };
    match resource {
        Resource::Cursus => all(CURSUS, "-id"),
        Resource::Campus => all(CAMPUS, "-id"),
        Resource::Projects => Fields {
            filter: [
                PROJECTS,
                "visible exam inherited_team has_git has_mark description difficulty",
            ],
            range: "id name created_at updated_at parent_id slug position description difficulty",
            sort: [
                PROJECTS,
                "visible exam inherited_team has_git has_mark repository git_id cached_repository_path",
            ],
            order: "position -id",
        },
        Resource::Achievements => all(ACHIEVEMENTS, "id"),
        Resource::Coalitions => Fields {
            filter: ["", ""],
            range: "",
            ..all(COALITIONS, NEWEST)
        },
        Resource::Users => Fields {
            filter: [USERS, "alumni? staff? primary_campus_id"],
            sort: [USERS, "image last_seen_at alumnized_at"],
            ..all(USERS, "-id")
        },
        Resource::CursusUsers => Fields {
            filter: [CURSUS_USERS, "active campus_id end future blackholed"],
            ..all(CURSUS_USERS, NEWEST)
        },
        Resource::CampusUsers => Fields {
            filter: [only_if(unknowns.campus_users_filter, CAMPUS_USERS), ""],
            range: only_if(unknowns.campus_users_range, "updated_at"),
            sort: [CAMPUS_USERS, "created_at updated_at"],
            order: "-id",
        },
        Resource::ProjectsUsers => Fields {
            filter: [PROJECTS_USERS, "cursus campus retriable marked"],
            sort: [only_if(unknowns.projects_users_sort, PROJECTS_USERS), ""],
            // No order is promised; the last key makes ties fall as they like.
            ..all(PROJECTS_USERS, "-updated_at shuffle")
        },
        Resource::AchievementsUsers => all(ACHIEVEMENTS_USERS, "-id"),
        Resource::CoalitionsUsers => Fields {
            filter: [COALITIONS_USERS, "this_year_score_updated"],
            ..all(COALITIONS_USERS, NEWEST)
        },
        Resource::Locations => Fields {
            filter: [LOCATIONS, "active inactive future end"],
            ..all(LOCATIONS, "-begin_at -id")
        },
        Resource::ScaleTeams => Fields {
            filter: [SCALE_TEAMS, "campus_id cursus_id future filled"],
            range: "updated_at filled_at",
            sort: [
                SCALE_TEAMS,
                "comment old_feedback feedback_rating token ip internship_id",
            ],
            order: "-begin_at -id",
        },
        Resource::Events => Fields {
            filter: [EVENTS, "future end"],
            ..all(EVENTS, "-begin_at -id")
        },
        Resource::EventsUsers => all(EVENTS_USERS, "-id"),
        Resource::Exams => Fields {
            filter: [EXAMS, "visible future end"],
            ..all(EXAMS, "-begin_at -id")
        },
        Resource::Blocs => all(BLOCS, "-id"),
        Resource::BlocDeadlines => all(BLOC_DEADLINES, "-id"),
        Resource::QuestsUsers => Fields {
            filter: [QUESTS_USERS, "campus_id"],
            ..all(QUESTS_USERS, "-id")
        },
        // Nothing selects or orders them: each list is all rows, in an order of its own.
        Resource::Titles | Resource::TitlesUsers => all("", "shuffle"),
    }
}

/// A field that is true or false by the value of another one.
#[derive(Clone, Copy)]
pub(crate) enum Flag {
    /// It has a value.
    Given(&'static str),
    /// It has none.
    Absent(&'static str),
    /// It lies in the past.
    Past(&'static str),
    /// It lies in the future.
    Future(&'static str),
    /// It has no value, or lies in the future.
    NotPast(&'static str),
}

/// How a field that a list can only be filtered by follows from another one.
pub(crate) fn flag(resource: Resource, field: &str) -> Option<Flag> {
    Some(match (resource, field) {
        (Resource::CursusUsers | Resource::Locations, "end")
        | (Resource::Locations, "inactive") => Flag::Given("end_at"),
        (Resource::CursusUsers, "active") => Flag::NotPast("end_at"),
        (Resource::CursusUsers, "blackholed") => Flag::Past("blackholed_at"),
        (
            Resource::CursusUsers
            | Resource::Locations
            | Resource::ScaleTeams
            | Resource::Events
            | Resource::Exams,
            "future",
        ) => Flag::Future("begin_at"),
        (Resource::Events | Resource::Exams, "end") => Flag::Past("end_at"),
        (Resource::Locations, "active") => Flag::Absent("end_at"),
        (Resource::ProjectsUsers, "retriable") => Flag::Past("retriable_at"),
        (Resource::ProjectsUsers, "marked") => Flag::Given("final_mark"),
        (Resource::ScaleTeams, "filled") => Flag::Given("filled_at"),
        _ => return None,
    })
}

/// How the values of a field are read from a query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Time,
    Text,
}

pub(crate) fn kind(field: &str) -> Kind {
    match field {
        "id" | "level" | "occurrence" | "final_mark" | "nbr_of_success" | "position"
        | "difficulty" | "this_year_score" | "cursus" | "campus" | "git_id" | "max_people"
        | "nbr_subscribers" | "squad_size" => Kind::Number,
        _ if field.ends_with("_id") => Kind::Number,
        _ if field.ends_with("_at") => Kind::Time,
        _ => Kind::Text,
    }
}
