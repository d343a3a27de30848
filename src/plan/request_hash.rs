//! What a read asks for, as a hash: a cursor counts only for the request that it belongs to.

use sha2::{Digest, Sha256};

use crate::config::{Config, QueryParameter, Resource};
use crate::hash::hex;

/// SHA-256 of server, path, queries, scope and the resource whose ids it fans out over. Another hash voids the cursor.
pub(crate) fn request_hash(config: &Config, resource: &Resource) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    add(config.api.url.trim_end_matches('/'));
    add(&resource
        .path
        .fill(&config.scope)
        .unwrap_or_else(|| resource.path.to_string()));
    for query in [&resource.query, &resource.delta_query] {
        for QueryParameter { name, value } in query {
            add(name);
            add(&value.to_string());
            for placeholder in value.placeholders() {
                add(&config
                    .scope
                    .get(placeholder)
                    .map_or_else(String::new, |list| list.join(",")));
            }
        }
    }
    if let Some(for_each) = &resource.for_each {
        add(for_each.ids_of.as_str());
    }
    if let Some(lists) = &resource.lists {
        add(&lists.path.to_string());
        add(&lists.values.join(","));
    }
    if let Some(first) = resource.cursor.as_ref().and_then(|cursor| cursor.first) {
        add(&first.as_secs().to_string());
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cursor that an earlier version staged counts only as long as this stays as it is.
    #[test]
    fn request_hash_is_that_of_earlier_versions() {
        let text = r#"
            version = 1
            [api]
            url = "https://api.example.org"
            [scope]
            cursus_id = 21
            campus_ids = [1, 2]
            [[resource]]
            name = "users"
            path = "/v2/cursus/{cursus_id}/users"
            query = { "filter[kind]" = "student", "filter[primary_campus_id]" = "{campus_ids}" }
            delta_query = { "filter[kind]" = "student" }
            cursor = { field = "updated_at", lookback = "10m" }
            [[resource]]
            name = "campus_users"
            path = "/v2/campus_users"
            query = { "filter[user_id]" = "{user_id}" }
            for_each = { ids_of = "users", as = "user_id", batch = 85 }
        "#;
        let config = Config::parse(text, None).unwrap();
        let hash = |name| request_hash(&config, config.resource(name).unwrap());
        assert_eq!(
            [hash("users"), hash("campus_users")],
            [
                "b9abe29458281a24f082433f7d73e5e6b290a1614438f4e078fe0c767875a504",
                "cf8de1ffc21bc4eeac770ccd1a64b3be1670eee7a32a54c1d1d63fab96fc49c1",
            ]
        );
    }
}
