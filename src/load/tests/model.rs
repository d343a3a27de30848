//! A model of the merge in a few lines of Rust: after every load the table is what the model says.

use super::*;

/// Before all versions of a record.
const EPOCH: i64 = 1_767_225_600;

/// What a column of floats may get.
#[derive(Clone, Copy, PartialEq)]
enum Weight {
    Null,
    Number(i8),
    /// Is rejected.
    Text,
}

#[derive(Clone)]
struct Record {
    key: (i64, i64),
    is_thing: bool,
    label: u8,
    box_id: Option<i64>,
    weight: Weight,
    seen: i64,
}

impl Record {
    fn random(rng: &mut Rng, key: (i64, i64), seen: i64) -> Self {
        Self {
            key,
            is_thing: rng.u8(..12) > 0,
            label: rng.u8(..3),
            // There is no box 9.
            box_id: match rng.u8(..25) {
                0 => Some(9),
                1 | 2 => None,
                _ => Some(rng.i64(1..6)),
            },
            weight: match rng.u8(..20) {
                0 => Weight::Text,
                1 | 2 => Weight::Null,
                _ => Weight::Number(rng.i8(0..4)),
            },
            seen,
        }
    }

    fn json(&self) -> String {
        let (a, b) = self.key;
        let kind = if self.is_thing { "thing" } else { "other" };
        let box_id = self
            .box_id
            .map_or_else(|| "null".to_owned(), |id| id.to_string());
        let weight = match self.weight {
            Weight::Null => "null".to_owned(),
            Weight::Number(number) => number.to_string(),
            Weight::Text => "\"heavy\"".to_owned(),
        };
        let seen = Timestamp::from_second(EPOCH + self.seen).unwrap();
        format!(
            r#"{{"id":{a},"a":{a},"b":"{b}","kind":"{kind}","label":"l{}","box_id":{box_id},"weight":{weight},"document":null,"seen_at":"{seen}"}}"#,
            self.label
        )
    }

    /// As [`LOOK`] prints its row.
    fn row(&self) -> String {
        let box_id = self
            .box_id
            .map_or_else(|| "-".to_owned(), |id| id.to_string());
        let weight = match self.weight {
            Weight::Number(number) => number.to_string(),
            Weight::Null | Weight::Text => "-".to_owned(),
        };
        format!("l{} {box_id} {weight} {}", self.label, self.seen)
    }
}

const LOOK: &str = "concat_ws(' ', label, coalesce(box_id::text, '-'), coalesce(weight::text, '-'), \
    extract(epoch FROM seen_at)::bigint - 1767225600), concat_ws(' ', ctid, xmin, ingested_at)";

/// A table: its rows by key, as they should be.
type Rows = BTreeMap<(i64, i64), String>;

/// What a load of these records makes of the rows: the newest version of each key counts. One that is out of scope
/// takes its row away, one that is rejected leaves it as it is; a full read shows all that there is.
fn merge(rows: &mut Rows, records: &[Record], mode: Mode) {
    let mut newest: BTreeMap<(i64, i64), &Record> = BTreeMap::new();
    for record in records {
        let known = newest.entry(record.key).or_insert(record);
        if record.seen > known.seen {
            *known = record;
        }
    }
    if mode == Mode::Full {
        rows.retain(|key, _| newest.contains_key(key));
    }
    for (key, record) in newest {
        if !record.is_thing {
            rows.remove(&key);
        } else if record.weight != Weight::Text && record.box_id != Some(9) {
            rows.insert(key, record.row());
        }
    }
}

/// The API's side of a table, and what a run reads of it.
struct Source {
    truth: BTreeMap<(i64, i64), Record>,
    /// How many keys there may be, of each part of the key.
    keys: (i64, i64),
}

impl Source {
    fn read(&mut self, rng: &mut Rng, step: i64, changes: usize) -> (Vec<Record>, Mode) {
        self.truth.retain(|_, _| rng.u8(..15) > 0);
        let mut shown: Vec<Record> = Vec::new();
        for _ in 0..changes {
            let key = (rng.i64(1..self.keys.0), rng.i64(0..self.keys.1));
            let seen = step * 1000 + rng.i64(0..100);
            // Some change in nothing but the time, some in nothing.
            let record = match self.truth.get(&key) {
                Some(known) if rng.u8(..4) == 0 => known.clone(),
                Some(known) if rng.u8(..4) == 0 => Record {
                    seen: step * 1000,
                    ..known.clone()
                },
                _ => Record::random(rng, key, seen),
            };
            self.truth.insert(key, record.clone());
            shown.push(record);
        }
        let mode = [Mode::Full, Mode::Full, Mode::Delta][rng.usize(..3)];
        if mode == Mode::Full {
            shown = self.truth.values().cloned().collect();
        } else {
            // The changes of a run that came later are what a delta shows, each once.
            let keys: BTreeSet<_> = shown.iter().map(|record| record.key).collect();
            shown = keys.iter().map(|key| self.truth[key].clone()).collect();
        }
        if rng.bool() {
            shown.reverse();
        }
        // Older versions that a page showed before: anything may be in them.
        for place in 0..if rng.bool() { rng.usize(..9) } else { 0 } {
            let Some(record) = shown.get(rng.usize(..shown.len().max(1))) else {
                break;
            };
            // No two are of the same time.
            let older = record.seen - (1 << place);
            let older = Record::random(rng, record.key, older);
            shown.insert(rng.usize(..=shown.len()), older);
        }
        if rng.u8(..5) == 0 {
            rng.shuffle(&mut shown);
        }
        (shown, mode)
    }
}

/// By every way: into an empty table, compared on the way, and through temporary tables.
#[tokio::test]
async fn a_merge_matches_the_model_and_spares_unchanged_rows() {
    let world = World::new(TABLES).await;
    let mut untouched = 0;
    for seed in 0..6 {
        let mut rng = Rng::with_seed(seed);
        let schema = format!("model_{seed}");
        // A first load of more rows than this takes the indexes off.
        let many = if seed < 2 { 3000 } else { 150 };
        let mut sources = [
            (
                "things",
                "id, 0::bigint",
                Source {
                    truth: BTreeMap::new(),
                    keys: (i64::try_from(many).unwrap() * 2, 1),
                },
            ),
            (
                "pairs",
                "a, b::bigint",
                Source {
                    truth: BTreeMap::new(),
                    keys: (20, 20),
                },
            ),
        ];
        let mut models = [Rows::new(), Rows::new()];
        let mut before: [BTreeMap<(i64, i64), (String, String)>; 2] = Default::default();
        for step in 0..6 {
            let mut reads = Vec::new();
            for ((name, _, source), model) in sources.iter_mut().zip(&mut models) {
                let changes = if step == 0 { many } else { rng.usize(..40) };
                let (records, mode) = source.read(&mut rng, step, changes);
                merge(model, &records, mode);
                let records: Vec<String> = records.iter().map(Record::json).collect();
                reads.push((*name, records, mode));
            }
            let reads: Vec<(&str, &[String], Mode)> = reads
                .iter()
                .map(|(name, records, mode)| (*name, &records[..], *mode))
                .collect();
            let root = world.staging(&format!("{schema}-{step}"));
            let run = stage_reads(&root, &reads, rng.usize(7..90), rng.u8(..4) > 0);
            let counts = world.load(&schema, &run).await;
            for (place, (name, key, _)) in sources.iter().enumerate() {
                let at = format!("seed {seed}, step {step}, {name}");
                let query = format!("SELECT {key}, {LOOK} FROM {schema}.{name}");
                let rows = world.client.query(&query, &[]).await.unwrap();
                let now: BTreeMap<(i64, i64), (String, String)> = rows
                    .iter()
                    .map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3))))
                    .collect();
                let is: Rows = now
                    .iter()
                    .map(|(key, (row, _))| (*key, row.clone()))
                    .collect();
                assert_eq!(is, models[place], "{at}");
                let (mut inserted, mut updated) = (0, 0);
                for (key, (row, trace)) in &now {
                    match before[place].get(key) {
                        None => inserted += 1,
                        Some((known, left)) if known == row => {
                            assert_eq!(trace, left, "{at}: {key:?} was touched");
                            untouched += 1;
                        }
                        Some((_, left)) => {
                            assert_ne!(trace, left);
                            updated += 1;
                        }
                    }
                }
                let deleted = before[place]
                    .keys()
                    .filter(|key| !now.contains_key(key))
                    .count();
                let hints = counts.iter().find(|counts| counts.name.as_str() == *name);
                let hints = hints.map_or((0, 0, 0), |hints| {
                    (hints.inserted, hints.updated, hints.deleted)
                });
                assert_eq!(hints, (inserted, updated, deleted as u64), "{at}");
                before[place] = now;
            }
        }
    }
    assert!(untouched > 5000, "{untouched}: the histories are too wild");
}
