//! What every table of the mirror must hold, said in SQL over the simulator's rows: written by hand, independent of the loader
//! and of pipeline.toml. Knows neither pages nor runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cursus_simulator::Simulator;

use super::Workdir;

/// A table, and its rows as a query over `truth (resource text, r jsonb)`.
pub(crate) struct Expected {
    pub(crate) table: &'static str,
    /// Column name and what it must be.
    pub(crate) columns: &'static [(&'static str, &'static str)],
    from: &'static str,
}

/// People of cursus 21 who are students and no alumni.
const PEOPLE: &str = "(SELECT r FROM truth AS u WHERE resource = 'users' AND r->>'kind' = 'student' \
    AND NOT (r->>'alumni?')::bool AND EXISTS (SELECT FROM truth AS e WHERE e.resource = 'cursus_users' \
    AND e.r->>'cursus_id' = '21' AND e.r#>>'{user,id}' = u.r->>'id')) AS people";

/// The one of [`TABLES`] that a derived statement fills: no load counts its rows.
const DERIVED: &str = "project_totals";
/// How many of [`TABLES`] are filled from records.
pub(crate) const LOADED: usize = TABLES.len() - 1;

/// All tables of the shipped pipeline, with those of packs that are on by default.
pub(crate) const TABLES: [Expected; 18] = [
    Expected {
        table: "cursus",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("created_at", "(r->>'created_at')::timestamptz"),
            ("name", "r->>'name'"),
            ("slug", "r->>'slug'"),
            ("kind", "r->>'kind'"),
        ],
        from: "truth WHERE resource = 'cursus'",
    },
    Expected {
        table: "campuses",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("name", "r->>'name'"),
            ("time_zone", "r->>'time_zone'"),
            ("language_id", "(r#>>'{language,id}')::bigint"),
            ("language_name", "r#>>'{language,name}'"),
            ("language_identifier", "r#>>'{language,identifier}'"),
            ("users_count", "(r->>'users_count')::bigint"),
            ("vogsphere_id", "(r->>'vogsphere_id')::bigint"),
            ("country", "r->>'country'"),
            ("address", "r->>'address'"),
            ("zip", "r->>'zip'"),
            ("city", "r->>'city'"),
            ("website", "r->>'website'"),
            ("facebook", "r->>'facebook'"),
            ("twitter", "r->>'twitter'"),
            ("active", "(r->>'active')::bool"),
            ("public", "(r->>'public')::bool"),
            ("email_extension", "r->>'email_extension'"),
            ("default_hidden_phone", "(r->>'default_hidden_phone')::bool"),
            ("endpoint", "nullif(r->'endpoint', 'null')"),
        ],
        from: "truth WHERE resource = 'campus'",
    },
    Expected {
        table: "projects",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("name", "r->>'name'"),
            ("slug", "r->>'slug'"),
            ("difficulty", "(r->>'difficulty')::bigint"),
            ("parent_id", "(r#>>'{parent,id}')::bigint"),
            ("children", "nullif(r->'children', 'null')"),
            ("attachments", "nullif(r->'attachments', 'null')"),
            ("created_at", "(r->>'created_at')::timestamptz"),
            ("updated_at", "(r->>'updated_at')::timestamptz"),
            ("exam", "(r->>'exam')::bool"),
            ("git_id", "(r->>'git_id')::bigint"),
            ("repository", "r->>'repository'"),
            ("recommendation", "r->>'recommendation'"),
            ("cursus", "nullif(r->'cursus', 'null')"),
            ("videos", "nullif(r->'videos', 'null')"),
        ],
        from: "truth WHERE resource = 'projects'",
    },
    Expected {
        table: "project_sessions",
        columns: &[
            ("id", "(s->>'id')::bigint"),
            ("project_id", "(r->>'id')::bigint"),
            ("campus_id", "(s->>'campus_id')::bigint"),
            ("cursus_id", "(s->>'cursus_id')::bigint"),
            ("solo", "(s->>'solo')::bool"),
            ("begin_at", "(s->>'begin_at')::timestamptz"),
            ("end_at", "(s->>'end_at')::timestamptz"),
            ("estimate_time", "s->>'estimate_time'"),
            ("difficulty", "(s->>'difficulty')::bigint"),
            ("objectives", "nullif(s->'objectives', 'null')"),
            ("description", "s->>'description'"),
            ("duration_days", "(s->>'duration_days')::bigint"),
            ("terminating_after", "(s->>'terminating_after')::bigint"),
            ("max_people", "(s->>'max_people')::bigint"),
            ("is_subscriptable", "(s->>'is_subscriptable')::bool"),
            ("scales", "nullif(s->'scales', 'null')"),
            ("uploads", "nullif(s->'uploads', 'null')"),
            ("team_behaviour", "s->>'team_behaviour'"),
            ("commit", "s->>'commit'"),
            ("created_at", "(s->>'created_at')::timestamptz"),
            ("updated_at", "(s->>'updated_at')::timestamptz"),
        ],
        from: "truth, jsonb_array_elements(r->'project_sessions') AS s WHERE resource = 'projects'",
    },
    Expected {
        table: "campus_projects",
        columns: &[
            ("campus_id", "(c->>'id')::bigint"),
            ("project_id", "(r->>'id')::bigint"),
        ],
        from: "truth, jsonb_array_elements(r->'campus') AS c WHERE resource = 'projects'",
    },
    Expected {
        table: "achievements",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("name", "r->>'name'"),
            ("description", "r->>'description'"),
            ("tier", "r->>'tier'"),
            ("kind", "r->>'kind'"),
            ("visible", "(r->>'visible')::bool"),
            ("image", "r->>'image'"),
            ("nbr_of_success", "(r->>'nbr_of_success')::bigint"),
            ("users_url", "r->>'users_url'"),
            ("achievements", "nullif(r->'achievements', 'null')"),
            ("campus", "nullif(r->'campus', 'null')"),
            ("parent_id", "(r#>>'{parent,id}')::bigint"),
            ("title", "nullif(r->'title', 'null')"),
        ],
        from: "truth WHERE resource = 'achievements'",
    },
    Expected {
        table: "campus_achievements",
        columns: &[
            ("campus_id", "(c.r->>'id')::bigint"),
            ("achievement_id", "(a.r->>'id')::bigint"),
        ],
        from: "truth AS a, jsonb_array_elements_text(a.r->'campus') AS name, truth AS c \
            WHERE a.resource = 'achievements' AND c.resource = 'campus' AND c.r->>'name' = name",
    },
    Expected {
        table: "coalitions",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("name", "r->>'name'"),
            ("slug", "r->>'slug'"),
            ("image_url", "r->>'image_url'"),
            ("cover_url", "r->>'cover_url'"),
            ("color", "r->>'color'"),
            ("score", "(r->>'score')::bigint"),
            ("user_id", "(r->>'user_id')::bigint"),
        ],
        from: "truth WHERE resource = 'coalitions'",
    },
    Expected {
        table: "users",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("login", "r->>'login'"),
            ("email", "r->>'email'"),
            ("first_name", "r->>'first_name'"),
            ("last_name", "r->>'last_name'"),
            ("usual_full_name", "r->>'usual_full_name'"),
            ("usual_first_name", "r->>'usual_first_name'"),
            ("displayname", "r->>'displayname'"),
            ("url", "r->>'url'"),
            ("phone", "r->>'phone'"),
            ("kind", "r->>'kind'"),
            ("image_link", "r#>>'{image,link}'"),
            ("image_large", "r#>>'{image,versions,large}'"),
            ("image_medium", "r#>>'{image,versions,medium}'"),
            ("image_small", "r#>>'{image,versions,small}'"),
            ("image_micro", "r#>>'{image,versions,micro}'"),
            ("image", "nullif(r->'image', 'null')"),
            ("staff", "(r->>'staff?')::bool"),
            ("correction_point", "(r->>'correction_point')::bigint"),
            ("pool_month", "r->>'pool_month'"),
            ("pool_year", "r->>'pool_year'"),
            ("location", "r->>'location'"),
            ("wallet", "(r->>'wallet')::bigint"),
            ("anonymize_date", "(r->>'anonymize_date')::timestamptz"),
            (
                "data_erasure_date",
                "(r->>'data_erasure_date')::timestamptz",
            ),
            ("created_at", "(r->>'created_at')::timestamptz"),
            ("updated_at", "(r->>'updated_at')::timestamptz"),
            ("alumnized_at", "(r->>'alumnized_at')::timestamptz"),
            ("alumni", "(r->>'alumni?')::bool"),
            ("active", "(r->>'active?')::bool"),
            ("cursus_id", "21::bigint"),
            (
                "campus_id",
                "(SELECT (h.r->>'campus_id')::bigint FROM truth AS h WHERE h.resource = 'campus_users' \
                 AND h.r->>'user_id' = people.r->>'id' AND (h.r->>'is_primary')::bool)",
            ),
        ],
        from: PEOPLE,
    },
    Expected {
        table: "cursus_users",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("user_id", "(r#>>'{user,id}')::bigint"),
            ("cursus_id", "(r->>'cursus_id')::bigint"),
            ("begin_at", "(r->>'begin_at')::timestamptz"),
            ("end_at", "(r->>'end_at')::timestamptz"),
            ("grade", "r->>'grade'"),
            ("level", "(r->>'level')::double precision"),
            ("skills", "nullif(r->'skills', 'null')"),
            ("has_coalition", "(r->>'has_coalition')::bool"),
            ("blackholed_at", "(r->>'blackholed_at')::timestamptz"),
            ("created_at", "(r->>'created_at')::timestamptz"),
            ("updated_at", "(r->>'updated_at')::timestamptz"),
        ],
        from: "truth WHERE resource = 'cursus_users' AND r->>'cursus_id' = '21'",
    },
    Expected {
        table: "campus_users",
        columns: &[
            ("id", "(l.r->>'id')::bigint"),
            ("user_id", "(l.r->>'user_id')::bigint"),
            ("campus_id", "(l.r->>'campus_id')::bigint"),
            ("is_primary", "(l.r->>'is_primary')::bool"),
            ("created_at", "(l.r->>'created_at')::timestamptz"),
            ("updated_at", "(l.r->>'updated_at')::timestamptz"),
        ],
        from: "truth AS l WHERE l.resource = 'campus_users' AND l.r->>'user_id' IN (SELECT id::text FROM wanted_users)",
    },
    Expected {
        table: "projects_users",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("user_id", "(r#>>'{user,id}')::bigint"),
            ("project_id", "(r#>>'{project,id}')::bigint"),
            ("cursus_id", "(r#>>'{cursus_ids,0}')::bigint"),
            ("cursus_ids", "nullif(r->'cursus_ids', 'null')"),
            ("occurrence", "(r->>'occurrence')::int"),
            ("final_mark", "(r->>'final_mark')::int"),
            ("status", "r->>'status'"),
            ("validated", "(r->>'validated?')::bool"),
            ("current_team_id", "(r->>'current_team_id')::bigint"),
            ("marked", "(r->>'marked')::bool"),
            ("marked_at", "(r->>'marked_at')::timestamptz"),
            ("retriable_at", "(r->>'retriable_at')::timestamptz"),
            ("created_at", "(r->>'created_at')::timestamptz"),
            ("updated_at", "(r->>'updated_at')::timestamptz"),
        ],
        // The API's filter asks whether the person is in cursus 21; every row of it is kept.
        from: "truth WHERE resource = 'projects_users' AND r#>>'{user,id}' IN (SELECT e.r#>>'{user,id}' \
            FROM truth AS e WHERE e.resource = 'cursus_users' AND e.r->>'cursus_id' = '21')",
    },
    Expected {
        table: "teams",
        columns: &[
            ("id", "(t->>'id')::bigint"),
            ("project_id", "(t->>'project_id')::bigint"),
            ("project_session_id", "(t->>'project_session_id')::bigint"),
            ("status", "t->>'status'"),
            ("final_mark", "(t->>'final_mark')::int"),
            ("locked", "(t->>'locked?')::bool"),
            ("validated", "(t->>'validated?')::bool"),
            ("closed", "(t->>'closed?')::bool"),
            ("locked_at", "(t->>'locked_at')::timestamptz"),
            ("closed_at", "(t->>'closed_at')::timestamptz"),
            ("terminating_at", "(t->>'terminating_at')::timestamptz"),
            ("created_at", "(t->>'created_at')::timestamptz"),
            ("updated_at", "(t->>'updated_at')::timestamptz"),
        ],
        from: "truth, jsonb_array_elements(r->'teams') AS t WHERE resource = 'projects_users' AND r#>>'{user,id}' IN \
            (SELECT e.r#>>'{user,id}' FROM truth AS e WHERE e.resource = 'cursus_users' AND e.r->>'cursus_id' = '21')",
    },
    Expected {
        table: "teams_users",
        columns: &[
            ("team_id", "(t->>'id')::bigint"),
            ("user_id", "(m->>'id')::bigint"),
            ("projects_user_id", "(m->>'projects_user_id')::bigint"),
            ("leader", "(m->>'leader')::bool"),
            ("occurrence", "(m->>'occurrence')::int"),
            ("validated", "(m->>'validated')::bool"),
        ],
        from: "truth, jsonb_array_elements(r->'teams') AS t, jsonb_array_elements(t->'users') AS m \
            WHERE resource = 'projects_users' AND r#>>'{user,id}' IN \
            (SELECT e.r#>>'{user,id}' FROM truth AS e WHERE e.resource = 'cursus_users' AND e.r->>'cursus_id' = '21')",
    },
    Expected {
        table: DERIVED,
        columns: &[
            ("project_id", "(r#>>'{project,id}')::bigint"),
            ("enrolments", "count(*)"),
            (
                "open",
                "count(*) FILTER (WHERE r->>'status' IN ('in_progress', 'searching_a_group', 'creating_group', 'waiting_for_correction'))",
            ),
            (
                "validated",
                "count(*) FILTER (WHERE (r->>'validated?')::bool)",
            ),
            (
                "failed",
                "count(*) FILTER (WHERE NOT (r->>'validated?')::bool)",
            ),
            ("pass_rate", "round(avg((r->>'validated?')::bool::int), 3)"),
            (
                "tries",
                "round(avg((r->>'occurrence')::int + 1) FILTER (WHERE (r->>'validated?')::bool), 2)",
            ),
            (
                "days",
                "round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM \
                    (r->>'marked_at')::timestamptz - (r->>'created_at')::timestamptz)) FILTER (WHERE (r->>'validated?')::bool) / 86400)::numeric, 1)",
            ),
        ],
        from: "(SELECT DISTINCT ON (r#>>'{user,id}', r#>>'{project,id}') r FROM truth WHERE resource = 'projects_users' \
            AND r#>>'{user,id}' IN (SELECT e.r#>>'{user,id}' FROM truth AS e WHERE e.resource = 'cursus_users' \
            AND e.r->>'cursus_id' = '21') ORDER BY r#>>'{user,id}', r#>>'{project,id}', (r->>'id')::bigint DESC) AS newest \
            GROUP BY r#>>'{project,id}'",
    },
    Expected {
        table: "cursus_users_skills",
        columns: &[
            ("cursus_user_id", "(r->>'id')::bigint"),
            ("skill_id", "(s->>'id')::bigint"),
            ("user_id", "(r#>>'{user,id}')::bigint"),
            ("cursus_id", "(r->>'cursus_id')::bigint"),
            ("name", "s->>'name'"),
            ("level", "(s->>'level')::double precision"),
        ],
        from: "truth, jsonb_array_elements(r->'skills') AS s WHERE resource = 'cursus_users' AND r->>'cursus_id' = '21'",
    },
    Expected {
        table: "achievements_users",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("user_id", "(r->>'user_id')::bigint"),
            ("achievement_id", "(r->>'achievement_id')::bigint"),
            ("nbr_of_success", "(r->>'nbr_of_success')::bigint"),
            ("url", "r->>'url'"),
            ("created_at", "(r->>'created_at')::timestamptz"),
            ("updated_at", "(r->>'updated_at')::timestamptz"),
        ],
        from: "truth WHERE resource = 'achievements_users'",
    },
    Expected {
        table: "coalitions_users",
        columns: &[
            ("id", "(r->>'id')::bigint"),
            ("coalition_id", "(r->>'coalition_id')::bigint"),
            ("user_id", "(r->>'user_id')::bigint"),
            ("score", "(r->>'score')::bigint"),
            ("rank", "(r->>'rank')::bigint"),
            ("created_at", "(r->>'created_at')::timestamptz"),
            ("updated_at", "(r->>'updated_at')::timestamptz"),
        ],
        from: "truth WHERE resource = 'coalitions_users'",
    },
];

/// The resources that the tables come from.
pub(crate) const RESOURCES: [&str; 11] = [
    "cursus",
    "campus",
    "projects",
    "achievements",
    "coalitions",
    "users",
    "cursus_users",
    "campus_users",
    "projects_users",
    "achievements_users",
    "coalitions_users",
];

/// Fails unless every table of the mirror holds exactly what the simulator shows now.
pub(crate) async fn assert_mirrors(workdir: &Workdir, simulator: &Simulator) {
    assert_mirrors_but(workdir, simulator, &BTreeSet::new()).await;
}

/// The same, except for the campuses of some people (ids).
pub(crate) async fn assert_mirrors_but(
    workdir: &Workdir,
    simulator: &Simulator,
    moved: &BTreeSet<i64>,
) {
    assert_tables_mirror(workdir, simulator, moved, |_| true).await;
}

#[allow(dead_code, reason = "a benchmark uses it")]
/// Fails unless all that the simulator shows now is in the mirror as it is; deleted rows may be there still.
pub(crate) async fn assert_lacks_nothing_but(
    workdir: &Workdir,
    simulator: &Simulator,
    moved: &BTreeSet<i64>,
    is_checked: impl Fn(&str) -> bool,
) {
    // Its sums count rows that the API has deleted and the mirror still has.
    let is_checked = |table: &str| table != DERIVED && is_checked(table);
    assert_sides(workdir, simulator, moved, &[Side::Lacks], is_checked).await;
}

/// The same for these tables only.
pub(crate) async fn assert_tables_mirror(
    workdir: &Workdir,
    simulator: &Simulator,
    moved: &BTreeSet<i64>,
    is_checked: impl Fn(&str) -> bool,
) {
    let both = [Side::Lacks, Side::MustNotHave];
    assert_sides(workdir, simulator, moved, &both, is_checked).await;
}

/// With more rows than this, a world is compared by indexes.
const LARGE: u64 = 20_000;

/// What may be wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Lacks,
    MustNotHave,
}

impl Side {
    /// The wrong rows, as a query over `mirror` and `wanted`, which has each row once.
    fn rows(self) -> &'static str {
        match self {
            Self::Lacks => {
                "SELECT 'lacks', row_to_json(d) FROM (TABLE wanted EXCEPT TABLE mirror) AS d"
            }
            Self::MustNotHave => {
                "SELECT 'must not have', row_to_json(d) FROM (TABLE mirror EXCEPT ALL TABLE wanted) AS d"
            }
        }
    }
}

async fn assert_sides(
    workdir: &Workdir,
    simulator: &Simulator,
    moved: &BTreeSet<i64>,
    sides: &[Side],
    is_checked: impl Fn(&str) -> bool,
) {
    let checked: Vec<&Expected> = TABLES
        .iter()
        .filter(|table| is_checked(table.table))
        .collect();
    let needed = RESOURCES.into_iter().filter(|resource| {
        let name = format!("'{resource}'");
        let is_named = |sql: &str| sql.contains(&name);
        is_named(PEOPLE)
            || (checked.iter()).any(|table| {
                is_named(table.from) || table.columns.iter().any(|(_, value)| is_named(value))
            })
    });
    state(workdir, simulator, needed).await;
    let mut wrong = String::new();
    for expected in checked {
        differences(workdir, expected, moved, sides, &mut wrong).await;
    }
    assert!(
        wrong.is_empty(),
        "the mirror is not what the API shows:\n{wrong}"
    );
}

/// Puts the simulator's rows and what follows from them into temporary tables.
async fn state(
    workdir: &Workdir,
    simulator: &Simulator,
    resources: impl Iterator<Item = &'static str>,
) {
    let client = &workdir.client;
    // Queries take fields out of a row one by one. Compressed rows would be unpacked for each field.
    client
        .batch_execute(
            "DROP TABLE IF EXISTS truth, wanted_users; \
             CREATE TEMPORARY TABLE truth (resource text, r jsonb) WITH (toast_tuple_target = 8160); \
             ALTER TABLE truth ALTER r SET STORAGE EXTERNAL",
        )
        .await
        .unwrap();
    let mut count = 0;
    for resource in resources {
        let rows = simulator.rows_json(resource);
        let insert = "INSERT INTO truth SELECT $1, jsonb_array_elements($2::text::jsonb)";
        count += client.execute(insert, &[&resource, &rows]).await.unwrap();
    }
    // Without these the larger worlds of the benchmarks take minutes to compare.
    if count > LARGE {
        client
            .batch_execute(
                "CREATE INDEX ON truth (resource, (r->>'user_id')); CREATE INDEX ON truth (resource, (r#>>'{user,id}')); ANALYZE truth",
            )
            .await
            .unwrap();
    }
    client
        .batch_execute(&format!(
            "CREATE TEMPORARY TABLE wanted_users AS SELECT (r->>'id')::bigint AS id FROM {PEOPLE}"
        ))
        .await
        .unwrap();
}

async fn differences(
    workdir: &Workdir,
    expected: &Expected,
    moved: &BTreeSet<i64>,
    sides: &[Side],
    wrong: &mut String,
) {
    let table = expected.table;
    let names: Vec<String> = expected
        .columns
        .iter()
        .filter(|(name, _)| moved.is_empty() || (table, *name) != ("users", "campus_id"))
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let names = names.join(", ");
    let values: Vec<String> = expected
        .columns
        .iter()
        .map(|(name, value)| format!("{value} AS \"{name}\""))
        .collect();
    let ids: Vec<String> = moved.iter().map(ToString::to_string).collect();
    let but = if table == "campus_users" && !moved.is_empty() {
        format!("WHERE user_id NOT IN ({})", ids.join(", "))
    } else {
        String::new()
    };
    let mirror = format!("SELECT {names} FROM public.{table} {but}");
    let truth = format!(
        "SELECT DISTINCT {names} FROM (SELECT {} FROM {}) AS wanted {but}",
        values.join(", "),
        expected.from
    );
    let sides: Vec<&str> = sides.iter().map(|side| side.rows()).collect();
    let sql = format!(
        "WITH mirror AS MATERIALIZED ({mirror}), wanted AS MATERIALIZED ({truth}) {}",
        sides.join(" UNION ALL ")
    );
    let rows = workdir.query(&sql).await;
    for what in ["lacks", "must not have"] {
        let rows = rows.iter().filter(|row| row[0].as_deref() == Some(what));
        let rows: Vec<&str> = rows.filter_map(|row| row[1].as_deref()).collect();
        if !rows.is_empty() {
            let _ = writeln!(wrong, "{table} {what} {} rows:", rows.len());
            for row in rows.iter().take(3) {
                let _ = writeln!(wrong, "    {row}");
            }
        }
    }
}
