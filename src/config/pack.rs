//! `packs = [...]` of `pipeline.toml`, and `[pack]` of each `pack.toml`: which packs there are, and which of them are on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::reader::{At, Problems, Section};
use super::view;
use crate::embedded_files;
use crate::name::advice;
use crate::pack_files::{self, PACK, PackFiles};
use crate::trusted::Untrusted;

/// The longest name of a pack: `refinery_schema_history_pack_` goes before it in an identifier.
const LONGEST: usize = 30;

/// Numbers of students that the costs of a pack are given for, with their keys.
const SIZES: [(u64, &str); 3] = [(100, "100"), (1_000, "1000"), (10_000, "10000")];

/// Requests at each of the sizes of [`PackCost::SIZES`].
pub(crate) type Requests = [u64; SIZES.len()];

/// What a pack says of its cost, for people who choose; nothing is reckoned from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackCost {
    /// With a run every 15 minutes.
    pub(crate) a_day: Option<Requests>,
    /// Those of the first mirror.
    pub(crate) at_first: Option<Requests>,
    /// How old its rows can be, in words.
    pub(crate) freshness: Option<String>,
}

impl Config {
    /// The texts of the migrations of packs that are on.
    pub(crate) fn pack_migrations(&self) -> impl Iterator<Item = &str> {
        let on = self.packs.iter().filter(|pack| pack.is_on());
        let migrations = on.flat_map(|pack| pack.files.in_folder("migrations"));
        migrations.filter_map(|(_, text)| text.ok())
    }
}

impl PackCost {
    /// Numbers of students.
    pub(crate) const SIZES: [u64; SIZES.len()] = [SIZES[0].0, SIZES[1].0, SIZES[2].0];

    fn read(section: &Section<'_>) -> Self {
        Self {
            a_day: requests(section, "requests_a_day"),
            at_first: requests(section, "requests_at_first"),
            freshness: (section.text("freshness")).map(|text| text.value.to_owned()),
        }
    }
}

/// Such as `{ 100 = 75, 1000 = 150, 10000 = 600 }`.
fn requests(section: &Section<'_>, key: &'static str) -> Option<Requests> {
    let numbers = section.section(key)?;
    let mut requests = Requests::default();
    let mut is_whole = true;
    for ((_, size), requests) in SIZES.into_iter().zip(&mut requests) {
        let has = numbers.has(size);
        match numbers.integer(size, 0..=1_000_000_000) {
            Some(number) => *requests = number,
            None => is_whole = false,
        }
        if !has {
            numbers.problem(numbers.at(), format_args!("the key `{size}` is missing"));
        }
    }
    numbers.finish();
    is_whole.then_some(requests)
}

/// Resources, tables, migrations and views that are turned on together.
#[derive(Clone, Debug)]
pub(crate) struct Pack {
    pub(crate) name: String,
    /// What it adds, a sentence.
    pub(crate) description: String,
    /// Packs that must be on with it; it may refer to what they define.
    pub(crate) needs: Vec<String>,
    /// The role or scope that its requests need, in words.
    pub(crate) right: Option<String>,
    pub(crate) cost: PackCost,
    /// On unless `packs` turns it off.
    pub(crate) is_default: bool,
    pub(crate) state: PackState,
    pub(crate) files: Arc<PackFiles>,
    needs_at: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PackState {
    On,
    Off,
    /// One that is on by default, and cannot be in this configuration: why.
    Impossible(String),
}

impl Pack {
    pub(crate) fn is_on(&self) -> bool {
        self.state == PackState::On
    }

    pub(crate) fn is_own(&self) -> bool {
        self.files.folder.is_some()
    }

    /// Whether it may refer to what that pack defines.
    pub(super) fn may_use(&self, other: &str) -> bool {
        self.name == other || self.needs.iter().any(|need| need == other)
    }

    pub(super) fn text(&self) -> &str {
        self.files.texts.get(PACK).map_or("", String::as_str)
    }

    fn of(files: PackFiles) -> Self {
        let text = files.texts.get(PACK).map_or("", String::as_str);
        let problems = Problems::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        let head = read_head(&Section::new(&problems, root.get_ref(), 0, ""));
        Self {
            // What stands in the place of a built-in pack is not passed over in silence if it is broken.
            is_default: head.is_default
                || (!errors.is_empty() && pack_files::is_shipped(&files.name)),
            name: files.name.clone(),
            description: head.description,
            needs: head
                .needs
                .iter()
                .map(|need| need.value.to_owned())
                .collect(),
            needs_at: head.needs.iter().map(|need| need.at).collect(),
            right: head.right,
            cost: head.cost,
            state: PackState::Off,
            files: Arc::new(files),
        }
    }

    /// The names that its blocks of this kind have.
    fn names(&self, kind: &str, key: &str) -> BTreeSet<String> {
        let (root, _) = DeTable::parse_recoverable(self.text());
        texts(root.get_ref(), kind, key)
    }
}

/// The texts at a key of all blocks of a kind; a list gives each of its texts.
fn texts(root: &DeTable<'_>, kind: &str, key: &str) -> BTreeSet<String> {
    let blocks = root
        .get(kind)
        .and_then(|blocks| blocks.get_ref().as_array());
    let values = (blocks.into_iter().flatten())
        .filter_map(|block| block.get_ref().as_table()?.get(key))
        .flat_map(|value| match value.get_ref().as_array() {
            Some(list) => list.iter().collect(),
            None => vec![value],
        });
    let text = |value: &Spanned<DeValue<'_>>| value.get_ref().as_str().map(str::to_owned);
    values.filter_map(text).collect()
}

struct Head<'a> {
    description: String,
    needs: Vec<At<&'a str>>,
    right: Option<String>,
    cost: PackCost,
    is_default: bool,
}

/// Reads `[pack]`, and reports its faults.
fn read_head<'a>(root: &Section<'a>) -> Head<'a> {
    let Some(section) = root.section("pack") else {
        if !root.has("pack") && !root.is_misspelt("pack") {
            root.problem(0, "write [pack] with `description`, what the pack adds");
        }
        return Head {
            description: String::new(),
            needs: Vec::new(),
            right: None,
            cost: PackCost::default(),
            is_default: false,
        };
    };
    let text = |text: Option<At<&str>>| text.map(|text| text.value.to_owned());
    let head = Head {
        description: text(section.required_text("description")).unwrap_or_default(),
        needs: section.texts("needs"),
        right: text(section.text("right")),
        cost: PackCost::read(&section),
        is_default: section.flag("default").unwrap_or(false),
    };
    section.finish();
    head
}

/// All packs with their heads, each of them off.
pub(super) fn all(config: Option<&Path>) -> Result<Vec<Pack>, Untrusted> {
    let files = pack_files::read(config)?;
    Ok(files.into_iter().map(Pack::of).collect())
}

/// Turns those on that `packs`, their own `default` or `added` name, and reports what `packs` cannot mean.
pub(super) fn choose(
    packs: &mut Vec<Pack>,
    root: &Section<'_>,
    table: &DeTable<'_>,
    added: &[&str],
    config: Option<&Path>,
) {
    let mut on: BTreeMap<String, usize> = BTreeMap::new();
    let mut off: BTreeMap<String, usize> = BTreeMap::new();
    for At { value, at } in root.texts("packs") {
        let (name, list) = match value.strip_prefix('-') {
            Some(name) => (name, &mut off),
            None => (value, &mut on),
        };
        if packs.iter().all(|pack| pack.name != name) {
            let names = packs.iter().map(|pack| pack.name.as_str());
            let advice = advice(name, names, "there are");
            root.problem(
                at,
                format_args!("`packs`: there is no pack `{name}`; {advice}"),
            );
        } else if list.insert(name.to_owned(), at).is_some() {
            root.problem(at, format_args!("`packs` names `{name}` twice"));
        }
    }
    for (name, at) in &off {
        if on.contains_key(name) {
            root.problem(
                *at,
                format_args!("`packs` turns `{name}` on and off; write one of them"),
            );
        }
    }
    let mut wanted: BTreeSet<String> = on.keys().cloned().collect();
    add(&mut wanted, packs, added);
    for pack in packs.iter_mut() {
        if wanted.contains(&pack.name) {
            pack.state = PackState::On;
        }
    }
    choose_defaults(packs, table, &off, config);
    for at in 0..packs.len() {
        let pack = &packs[at];
        let absent = pack.needs.iter().filter(|need| {
            packs
                .iter()
                .all(|other| other.name != **need || !other.is_on())
        });
        let absent: Vec<&str> = absent.map(String::as_str).collect();
        let is_known = |need: &&str| packs.iter().any(|other| other.name == **need);
        let Some(line) = on
            .get(&pack.name)
            .filter(|_| !absent.is_empty() && absent.iter().all(is_known))
        else {
            continue;
        };
        let mut list: Vec<String> = absent.iter().map(|need| (*need).to_owned()).collect();
        list.extend(
            on.keys()
                .filter(|name| !absent.contains(&name.as_str()))
                .cloned(),
        );
        list.extend(
            off.keys()
                .filter(|name| !absent.contains(&name.as_str()))
                .map(|name| format!("-{name}")),
        );
        let list: Vec<String> = list.iter().map(|name| format!("\"{name}\"")).collect();
        let needs: Vec<String> = absent.iter().map(|need| format!("`{need}`")).collect();
        let noun = if needs.len() == 1 {
            "the pack"
        } else {
            "the packs"
        };
        let message = format!(
            "the pack `{}` needs {noun} {}, which {} off; write packs = [{}]",
            pack.name,
            needs.join(" and "),
            if needs.len() == 1 { "is" } else { "are" },
            list.join(", ")
        );
        root.problem(*line, message);
    }
    sort(packs);
}

/// Those that are added on the command line, with all that they need.
fn add(wanted: &mut BTreeSet<String>, packs: &[Pack], added: &[&str]) {
    let mut waiting: Vec<&str> = added.to_vec();
    while let Some(name) = waiting.pop() {
        let pack = packs.iter().find(|pack| pack.name == name);
        if let Some(pack) = pack.filter(|pack| wanted.insert(pack.name.clone())) {
            waiting.extend(pack.needs.iter().map(String::as_str));
        }
    }
}

/// Turns on the packs that are on by default, as far as nothing stands in the way.
fn choose_defaults(
    packs: &mut [Pack],
    root: &DeTable<'_>,
    off: &BTreeMap<String, usize>,
    config: Option<&Path>,
) {
    let views = embedded_files::sql_folder(view::FOLDER, config);
    let views: BTreeSet<String> = views.into_iter().map(|view| view.file).collect();
    let is_candidate =
        |pack: &Pack| pack.is_default && !pack.is_on() && !off.contains_key(&pack.name);
    let mut waiting: Vec<usize> = (0..packs.len())
        .filter(|at| is_candidate(&packs[*at]))
        .collect();
    loop {
        let mut is_changed = false;
        waiting.retain(|&at| {
            let obstacle = obstacle(&packs[at], packs, root, &views);
            let is_on = obstacle.is_none();
            packs[at].state = obstacle.map_or(PackState::On, PackState::Impossible);
            is_changed |= is_on;
            !is_on
        });
        if !is_changed {
            return;
        }
    }
}

/// Why a pack that nobody has named cannot be on.
fn obstacle(
    pack: &Pack,
    packs: &[Pack],
    root: &DeTable<'_>,
    views: &BTreeSet<String>,
) -> Option<String> {
    let is_on = |name: &str| {
        packs
            .iter()
            .any(|other| other.name == name && other.is_on())
    };
    if let Some(need) = pack.needs.iter().find(|need| !is_on(need)) {
        return Some(format!("it needs the pack `{need}`, which is off"));
    }
    for kind in ["resource", "table"] {
        let core = texts(root, kind, "name");
        if let Some(name) = pack
            .names(kind, "name")
            .iter()
            .find(|name| core.contains(*name))
        {
            return Some(format!("pipeline.toml has a {kind} `{name}` of its own"));
        }
    }
    let mut own = pack.files.in_folder("views");
    let taken = own.find(|(file, _)| views.contains(&format!("{}/{file}", view::FOLDER)));
    if let Some((file, _)) = taken {
        return Some(format!("{}/{file} is a view of this name", view::FOLDER));
    }
    let absent = |kind: &str, named: BTreeSet<String>| {
        let mut known = texts(root, kind, "name");
        for other in packs.iter().filter(|other| pack.may_use(&other.name)) {
            known.extend(other.names(kind, "name"));
        }
        let absent = named.into_iter().find(|name| !known.contains(name))?;
        Some(format!("pipeline.toml has no {kind} `{absent}`"))
    };
    absent("resource", pack.names("table", "from"))
        .or_else(|| absent("table", pack.names("derive", "after")))
}

/// Each after those that it needs. Those that need each other keep their order, and are reported where their files are read.
fn sort(packs: &mut Vec<Pack>) {
    let mut sorted: Vec<Pack> = Vec::with_capacity(packs.len());
    while !packs.is_empty() {
        let is_ready = |pack: &Pack| {
            pack.needs
                .iter()
                .all(|need| packs.iter().all(|other| other.name != *need))
        };
        let at = packs.iter().position(is_ready).unwrap_or(0);
        sorted.push(packs.remove(at));
    }
    *packs = sorted;
}

/// Reports the faults of a pack that is on, but for those of its blocks.
pub(super) fn check(pack: &Pack, packs: &[Pack], root: &Section<'_>) {
    read_head(root);
    if !root.has("pack") && pack.text().is_empty() {
        root.problem(0, format_args!("the pack has no {PACK}"));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = &pack.name;
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(plain)
        || name.len() > LONGEST
    {
        let message = format!(
            "a pack is called by its folder, in lower-case letters, digits and `-`, beginning with a letter, of at most {LONGEST} \
             characters; rename the folder `{name}`"
        );
        root.problem(0, message);
    }
    for (need, at) in pack.needs.iter().zip(&pack.needs_at) {
        let other = packs.iter().find(|other| other.name == *need);
        match other {
            None => {
                let names = packs
                    .iter()
                    .map(|pack| pack.name.as_str())
                    .filter(|other| other != name);
                let advice = advice(need, names, "there are");
                root.problem(
                    *at,
                    format_args!("`needs`: there is no pack `{need}`; {advice}"),
                );
            }
            Some(other) if other.name == *name => {
                root.problem(*at, "`needs` names the pack itself");
            }
            Some(other) if other.needs.contains(name) => {
                root.problem(
                    *at,
                    format_args!("`needs`: the packs `{name}` and `{need}` need each other"),
                );
            }
            Some(_) => {}
        }
    }
}

/// The names of resources or tables of packs that are off, and the pack of each.
pub(super) fn names_off(packs: &[Pack], kind: &str) -> BTreeMap<String, String> {
    let off = packs.iter().filter(|pack| !pack.is_on());
    off.flat_map(|pack| {
        pack.names(kind, "name")
            .into_iter()
            .map(|name| (name, pack.name.clone()))
    })
    .collect()
}
