//! The resources, and for each the fields that the API documents for filters, ranges and sorts, as one table. Data only.

use std::fmt;

use super::Unknowns;

/// A set of rows that the simulator serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Resource {
    Cursus,
    Campus,
    Projects,
    Achievements,
    Coalitions,
    Users,
    CursusUsers,
    CampusUsers,
    ProjectsUsers,
    AchievementsUsers,
    CoalitionsUsers,
    Locations,
    ScaleTeams,
}

impl Resource {
    pub(crate) const ALL: [Self; 13] = [
        Self::Cursus,
        Self::Campus,
        Self::Projects,
        Self::Achievements,
        Self::Coalitions,
        Self::Users,
        Self::CursusUsers,
        Self::CampusUsers,
        Self::ProjectsUsers,
        Self::AchievementsUsers,
        Self::CoalitionsUsers,
        Self::Locations,
        Self::ScaleTeams,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cursus => "cursus",
            Self::Campus => "campus",
            Self::Projects => "projects",
            Self::Achievements => "achievements",
            Self::Coalitions => "coalitions",
            Self::Users => "users",
            Self::CursusUsers => "cursus_users",
            Self::CampusUsers => "campus_users",
            Self::ProjectsUsers => "projects_users",
            Self::AchievementsUsers => "achievements_users",
            Self::CoalitionsUsers => "coalitions_users",
            Self::Locations => "locations",
            Self::ScaleTeams => "scale_teams",
        }
    }

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

/// The fields of a resource that a query may name, and the order without `sort`.
pub(crate) struct Fields {
    pub(crate) filter: &'static [&'static str],
    pub(crate) range: &'static [&'static str],
    pub(crate) sort: &'static [&'static str],
    pub(crate) order: &'static [&'static str],
}

const ID_DESC: &[&str] = &["-id"];
const NEWEST: &[&str] = &["-created_at", "-id"];
const LATEST: &[&str] = &["-begin_at", "-id"];

const CURSUS: &[&str] = &[
    "id",
    "name",
    "created_at",
    "updated_at",
    "slug",
    "kind",
    "restricted",
    "is_subscriptable",
];
const CAMPUS: &[&str] = &[
    "id",
    "name",
    "created_at",
    "updated_at",
    "time_zone",
    "language_id",
    "slug",
    "main_email",
    "endpoint_id",
    "vogsphere_id",
    "content_email",
    "time_of_community_service_started",
    "companies_mail",
    "address",
    "zip",
    "city",
    "country",
    "pro_needs_validation",
    "logo",
    "website",
    "facebook",
    "twitter",
    "display_name",
    "email_extension",
    "help_url",
    "active",
    "open_to_job_offers",
    "default_hidden_phone",
    "tig_email",
    "minimum_slot_duration",
    "alumni_system",
    "manual_alumnization_before_first_internship",
    "public",
];
const PROJECTS_RANGE: &[&str] = &[
    "id",
    "name",
    "created_at",
    "updated_at",
    "parent_id",
    "slug",
    "position",
    "description",
    "difficulty",
];
const PROJECTS_FILTER: &[&str] = &[
    "id",
    "name",
    "created_at",
    "updated_at",
    "visible",
    "exam",
    "parent_id",
    "slug",
    "inherited_team",
    "position",
    "has_git",
    "has_mark",
    "description",
    "difficulty",
];
const PROJECTS_SORT: &[&str] = &[
    "id",
    "name",
    "created_at",
    "updated_at",
    "visible",
    "exam",
    "parent_id",
    "slug",
    "inherited_team",
    "position",
    "has_git",
    "has_mark",
    "repository",
    "git_id",
    "cached_repository_path",
];
const ACHIEVEMENTS: &[&str] = &[
    "id",
    "name",
    "internal_name",
    "kind",
    "tier",
    "description",
    "pedago",
    "visible",
    "nbr_of_success",
    "parent_id",
    "image",
    "created_at",
    "updated_at",
    "slug",
    "position",
    "reward",
    "title_id",
];
const COALITIONS_SORT: &[&str] = &[
    "id",
    "bloc_id",
    "user_id",
    "name",
    "image",
    "slug",
    "created_at",
    "updated_at",
    "color",
    "cover",
];
const USERS_FILTER: &[&str] = &[
    "id",
    "login",
    "email",
    "created_at",
    "updated_at",
    "first_name",
    "last_name",
    "pool_year",
    "pool_month",
    "kind",
    "status",
    "alumni?",
    "staff?",
    "primary_campus_id",
];
const USERS_RANGE: &[&str] = &[
    "id",
    "login",
    "email",
    "created_at",
    "updated_at",
    "first_name",
    "last_name",
    "pool_year",
    "pool_month",
    "kind",
    "status",
];
const USERS_SORT: &[&str] = &[
    "id",
    "login",
    "email",
    "created_at",
    "updated_at",
    "first_name",
    "last_name",
    "pool_year",
    "pool_month",
    "kind",
    "status",
    "image",
    "last_seen_at",
    "alumnized_at",
];
const CURSUS_USERS: &[&str] = &[
    "id",
    "cursus_id",
    "user_id",
    "created_at",
    "updated_at",
    "end_at",
    "begin_at",
    "has_coalition",
    "blackholed_at",
    "level",
];
const CURSUS_USERS_FILTER: &[&str] = &[
    "id",
    "cursus_id",
    "user_id",
    "created_at",
    "updated_at",
    "end_at",
    "begin_at",
    "has_coalition",
    "blackholed_at",
    "level",
    "active",
    "campus_id",
    "end",
    "future",
    "blackholed",
];
const CAMPUS_USERS_FILTER: &[&str] = &["id", "user_id", "campus_id", "is_primary"];
const CAMPUS_USERS: &[&str] = &[
    "id",
    "user_id",
    "campus_id",
    "is_primary",
    "created_at",
    "updated_at",
];
const PROJECTS_USERS_FILTER: &[&str] = &[
    "id",
    "project_id",
    "user_id",
    "created_at",
    "updated_at",
    "occurrence",
    "final_mark",
    "retriable_at",
    "marked_at",
    "status",
    "cursus",
    "campus",
    "retriable",
    "marked",
];
const PROJECTS_USERS_RANGE: &[&str] = &[
    "id",
    "project_id",
    "user_id",
    "created_at",
    "updated_at",
    "occurrence",
    "final_mark",
    "retriable_at",
    "marked_at",
    "status",
];
const ACHIEVEMENTS_USERS: &[&str] = &[
    "id",
    "user_id",
    "achievement_id",
    "nbr_of_success",
    "created_at",
    "updated_at",
    "rewarded",
];
const COALITIONS_USERS: &[&str] = &[
    "id",
    "coalition_id",
    "user_id",
    "created_at",
    "updated_at",
    "this_year_score",
    "this_year_score_updated_at",
];
const COALITIONS_USERS_FILTER: &[&str] = &[
    "id",
    "coalition_id",
    "user_id",
    "created_at",
    "updated_at",
    "this_year_score",
    "this_year_score_updated_at",
    "this_year_score_updated",
];

const LOCATIONS: &[&str] = &[
    "id",
    "user_id",
    "begin_at",
    "end_at",
    "primary",
    "host",
    "campus_id",
];
const LOCATIONS_FILTER: &[&str] = &[
    "id",
    "user_id",
    "begin_at",
    "end_at",
    "primary",
    "host",
    "campus_id",
    "active",
    "inactive",
    "future",
    "end",
];
const SCALE_TEAMS: &[&str] = &[
    "id",
    "user_id",
    "begin_at",
    "created_at",
    "updated_at",
    "scale_id",
    "team_id",
    "comment",
    "old_feedback",
    "feedback_rating",
    "final_mark",
    "truant_id",
    "flag_id",
    "token",
    "ip",
    "internship_id",
    "filled_at",
];
const SCALE_TEAMS_FILTER: &[&str] = &[
    "id",
    "user_id",
    "begin_at",
    "created_at",
    "updated_at",
    "scale_id",
    "team_id",
    "final_mark",
    "truant_id",
    "flag_id",
    "filled_at",
    "campus_id",
    "cursus_id",
    "future",
    "filled",
];

pub(crate) fn fields(resource: Resource, unknowns: &Unknowns) -> Fields {
    let all = |fields, order| Fields {
        filter: fields,
        range: fields,
        sort: fields,
        order,
    };
    match resource {
        Resource::Cursus => all(CURSUS, ID_DESC),
        Resource::Campus => all(CAMPUS, ID_DESC),
        Resource::Projects => Fields {
            filter: PROJECTS_FILTER,
            range: PROJECTS_RANGE,
            sort: PROJECTS_SORT,
            order: &["position", "-id"],
        },
        Resource::Achievements => all(ACHIEVEMENTS, &["id"]),
        Resource::Coalitions => Fields {
            filter: &[],
            range: &[],
            sort: COALITIONS_SORT,
            order: NEWEST,
        },
        Resource::Users => Fields {
            filter: USERS_FILTER,
            range: USERS_RANGE,
            sort: USERS_SORT,
            order: ID_DESC,
        },
        Resource::CursusUsers => Fields {
            filter: CURSUS_USERS_FILTER,
            range: CURSUS_USERS,
            sort: CURSUS_USERS,
            order: NEWEST,
        },
        Resource::CampusUsers => Fields {
            filter: if unknowns.campus_users_filter {
                CAMPUS_USERS_FILTER
            } else {
                &[]
            },
            range: if unknowns.campus_users_range {
                &["updated_at"]
            } else {
                &[]
            },
            sort: CAMPUS_USERS,
            order: ID_DESC,
        },
        Resource::ProjectsUsers => Fields {
            filter: PROJECTS_USERS_FILTER,
            range: PROJECTS_USERS_RANGE,
            sort: if unknowns.projects_users_sort {
                PROJECTS_USERS_RANGE
            } else {
                &[]
            },
            // No order is promised; the last key makes ties fall as they like.
            order: &["-updated_at", "shuffle"],
        },
        Resource::AchievementsUsers => all(ACHIEVEMENTS_USERS, ID_DESC),
        Resource::CoalitionsUsers => Fields {
            filter: COALITIONS_USERS_FILTER,
            range: COALITIONS_USERS,
            sort: COALITIONS_USERS,
            order: NEWEST,
        },
        Resource::Locations => Fields {
            filter: LOCATIONS_FILTER,
            range: LOCATIONS,
            sort: LOCATIONS,
            order: LATEST,
        },
        Resource::ScaleTeams => Fields {
            filter: SCALE_TEAMS_FILTER,
            range: &["updated_at", "filled_at"],
            sort: SCALE_TEAMS,
            order: LATEST,
        },
    }
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
        | "difficulty" | "this_year_score" | "cursus" | "campus" | "git_id" => Kind::Number,
        _ if field.ends_with("_id") => Kind::Number,
        _ if field.ends_with("_at") => Kind::Time,
        _ => Kind::Text,
    }
}
