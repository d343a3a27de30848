//! The status as Prometheus metrics, in the text format 0.0.4. What is not known has no sample.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{ReadStatus, Status};

/// States of a read, as they are in a manifest.
const STATES: [&str; 3] = ["complete", "drifted", "partial"];

/// A sample: its labels and its value.
type Sample = (Vec<(&'static str, String)>, String);

/// All metrics of a status; with a project each sample has it as a label.
pub(crate) fn text(status: &Status, project: Option<&str>) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, samples: Vec<Sample>| {
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let of_all = project.map(|project| ("project", project.to_owned()));
            let labels: Vec<String> = (labels.iter().chain(&of_all))
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let plain =
        |value: Option<String>| value.map(|value| (Vec::new(), value)).into_iter().collect();
    let labelled = |label, name: &String, value: String| (vec![(label, name.clone())], value);
    metric(
        "cursus_build_info",
        "gauge",
        "1, with the version of cursus that wrote this.",
        vec![(
            vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
            "1".to_owned(),
        )],
    );
    metric(
        "cursus_last_run_timestamp_seconds",
        "gauge",
        "When the last run of each outcome ended; of a run that is not over, when it began.",
        (status.outcomes.iter())
            .map(|(outcome, at)| labelled("outcome", outcome, seconds(*at)))
            .collect(),
    );
    metric(
        "cursus_resource_last_complete_timestamp_seconds",
        "gauge",
        "When the last read began that has everything up to then.",
        of_reads(status, |read| read.known_up_to.map(seconds)),
    );
    metric(
        "cursus_resource_rows",
        "gauge",
        "Rows of the newest read.",
        of_reads(status, |read| read.rows.map(|rows| rows.to_string())),
    );
    let states = status.resources.iter().flat_map(|read| {
        STATES.map(|state| {
            let mut labels = labels_of(read);
            labels.push(("state", state.to_owned()));
            let is_it = read.state.as_deref() == Some(state);
            (labels, u8::from(is_it).to_string())
        })
    });
    metric(
        "cursus_resource_state",
        "gauge",
        "1 for the state of the newest read, 0 for the others.",
        states.collect(),
    );
    metric(
        "cursus_requests_total",
        "counter",
        "Requests of all commands, by the HTTP status of their answer; none: not answered.",
        (status.requests.total.iter())
            .map(|(code, count)| labelled("status", code, count.to_string()))
            .collect(),
    );
    metric(
        "cursus_requests_remaining",
        "gauge",
        "Requests of the key that are left of this hour, without the reserve.",
        plain(status.requests.remaining.map(|left| left.to_string())),
    );
    metric(
        "cursus_secret_expiry_timestamp_seconds",
        "gauge",
        "When the client secret expires.",
        plain(status.secret_valid_until.map(seconds)),
    );
    metric(
        "cursus_quarantined_rows",
        "gauge",
        "Rows in quarantine.",
        plain(status.quarantined.map(|rows| rows.to_string())),
    );
    metric(
        "cursus_held_deletes",
        "gauge",
        "Deletes that the prune limit holds back.",
        plain(status.prune_candidates.map(|rows| rows.to_string())),
    );
    text
}

fn of_reads(status: &Status, value: impl Fn(&ReadStatus) -> Option<String>) -> Vec<Sample> {
    let samples = status.resources.iter();
    samples
        .filter_map(|read| Some((labels_of(read), value(read)?)))
        .collect()
}

fn labels_of(read: &ReadStatus) -> Vec<(&'static str, String)> {
    let of_it = read
        .read
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    vec![("resource", read.name.to_string()), ("read", of_it)]
}

fn seconds(at: Timestamp) -> String {
    at.as_second().to_string()
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), r#"a\\b\"c\nd"#);
    }
}
