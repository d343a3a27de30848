//! What a campus has planned: events with those who subscribed to them, and exams. A subscription moves the date of nothing; who
//! leaves an event, and an event that is cancelled, are deleted.

use super::given::Given;
use super::people::{births, user_url};
use super::row::{Object, object};
use super::stamp::DAY;
use super::{CURSUS, Cell, Made, PISCINE, Row, Stamp, World, reference};
use crate::fields::Resource;
use crate::world::advance::count;

/// A sort of change.
#[derive(Clone, Copy)]
pub(super) enum Agenda {
    AnnounceEvent,
    MoveEvent,
    CancelEvent,
    Subscribe,
    Unsubscribe,
    AnnounceExam,
    RegisterForExam,
    CancelExam,
    BeginQuest,
    ValidateQuest,
    GiveTitle,
    TakeTitle,
    SelectTitle,
    SetDeadline,
}

/// Days of events and exams at the start, and those to come.
const PAST_DAYS: i64 = 400;
const COMING_DAYS: i64 = 21;

const HOUR: i64 = DAY / 24;

pub(super) fn is_visible(exam: &Row) -> bool {
    exam.cell("visible").is_none() || exam.flag("visible")
}

/// Whether an event or an exam is of a campus or a cursus.
pub(super) fn is_of(row: &Row, parent: Resource, id: i64) -> bool {
    let ids = |field: &str| row.get::<Vec<i64>>(field).unwrap_or_default();
    let rows = |field: &str| row.get::<Vec<serde_json::Value>>(field).unwrap_or_default();
    match parent {
        Resource::Campus if row.int("campus_id") == Some(id) => true,
        Resource::Campus => ids("campus_ids").contains(&id),
        _ => ids("cursus_ids").contains(&id) || rows("cursus").iter().any(|row| row["id"] == id),
    }
}

pub(super) fn fill(world: &mut World, given: &mut Given) {
    let mut random = world.random(14);
    let until = world.now.plus_micros(COMING_DAYS * DAY);
    let from = world.now.plus_micros(-PAST_DAYS * DAY);
    let students = world.students().len();
    let is_given = given.fill_as_is(world, Resource::Events);
    if !is_given {
        world.table_mut(Resource::Events).last = 20_000;
        for begin_at in births(&mut random, 24 + students * 3 / 10, from, until) {
            world.plan_event(begin_at, &mut random);
        }
    }
    if !given.fill_as_is(world, Resource::EventsUsers) && !is_given {
        world.table_mut(Resource::EventsUsers).last = 900_000;
        let events: Vec<i64> = world.table(Resource::Events).ids().collect();
        for event in events {
            for _ in 0..random.u8(..16) {
                world.subscribe_to(event, &mut random);
            }
        }
    }
    if !given.fill_as_is(world, Resource::Exams) {
        world.table_mut(Resource::Exams).last = 15_000;
        for begin_at in births(&mut random, 16 + students / 10, from, until) {
            world.plan_exam(begin_at, &mut random);
        }
    }
}

impl World {
    /// Changes a day, of each sort.
    pub(super) fn agenda_rates(&self) -> Vec<(Agenda, f64)> {
        let students = count(self.students().len());
        vec![
            (Agenda::AnnounceEvent, 1.0 + students * 0.000_8),
            (Agenda::MoveEvent, 0.4),
            (Agenda::CancelEvent, 0.2),
            (Agenda::Subscribe, 2.0 + students * 0.02),
            (Agenda::Unsubscribe, 0.5 + students * 0.004),
            (Agenda::AnnounceExam, 0.4 + students * 0.000_3),
            (Agenda::RegisterForExam, 1.0 + students * 0.02),
            (Agenda::CancelExam, 0.1),
            (Agenda::BeginQuest, students * 0.01),
            (Agenda::ValidateQuest, students * 0.01),
            (Agenda::GiveTitle, students * 0.004),
            (Agenda::TakeTitle, students * 0.000_5),
            (Agenda::SelectTitle, students * 0.002),
            (Agenda::SetDeadline, 0.02),
        ]
    }

    pub(super) fn change_agenda(&mut self, change: Agenda, at: Stamp, random: &mut fastrand::Rng) {
        match change {
            Agenda::AnnounceEvent => self.announce_event(at, random),
            Agenda::AnnounceExam => self.announce_exam(at, random),
            Agenda::MoveEvent => self.move_event(at, random),
            Agenda::CancelEvent => self.cancel(Resource::Events, at, random),
            Agenda::CancelExam => self.cancel(Resource::Exams, at, random),
            Agenda::Subscribe => {
                if let Some(event) = self.coming(Resource::Events, at, random) {
                    self.subscribe_to(event, random);
                }
            }
            Agenda::Unsubscribe => self.unsubscribe(at, random),
            Agenda::RegisterForExam => {
                let exam = self.coming(Resource::Exams, at, random);
                let exams = self.table_mut(Resource::Exams);
                if let Some(exam) = exam.and_then(|id| exams.get_mut(id)) {
                    exam.set("nbr_subscribers", exam.key("nbr_subscribers") + 1);
                }
            }
            Agenda::BeginQuest => self.begin_quest(at, random),
            Agenda::ValidateQuest => self.touch_any(Resource::QuestsUsers, at, random),
            Agenda::GiveTitle => self.give_title(at, random),
            Agenda::TakeTitle => self.remove_any(Resource::TitlesUsers, random),
            Agenda::SelectTitle => self.touch_any(Resource::TitlesUsers, at, random),
            Agenda::SetDeadline => self.set_deadline(at, random),
        }
    }

    /// An event in the next weeks.
    pub(super) fn announce_event(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let begin_at = at.plus_micros(random.i64(1..COMING_DAYS * 24) * HOUR);
        let now = std::mem::replace(&mut self.now, at);
        self.plan_event(begin_at, random);
        self.now = now;
    }

    /// An exam in the next weeks.
    pub(super) fn announce_exam(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let begin_at = at.plus_micros(random.i64(1..COMING_DAYS * 24) * HOUR);
        let now = std::mem::replace(&mut self.now, at);
        self.plan_exam(begin_at, random);
        self.now = now;
    }

    /// Somebody subscribes to any event.
    pub(super) fn subscribe(&mut self, random: &mut fastrand::Rng) {
        if let Some(event) = self.table(Resource::Events).any(random) {
            self.subscribe_to(event, random);
        }
    }

    /// An event has more subscribers, or fewer; no date moves.
    pub(super) fn count_subscriber(&mut self, event: i64, more: i64) {
        if let Some(event) = self.table_mut(Resource::Events).get_mut(event) {
            event.set("nbr_subscribers", event.key("nbr_subscribers") + more);
        }
    }

    fn plan_event(&mut self, begin_at: Stamp, random: &mut fastrand::Rng) {
        let Some(campus) = self.table(Resource::Campus).any(random) else {
            return;
        };
        let other = self.table(Resource::Campus).any(random);
        let mut campus_ids = vec![campus];
        // Some events are of several campuses.
        campus_ids.extend(other.filter(|other| random.u8(..12) == 0 && *other != campus));
        let created_at = self.announced(begin_at, random);
        let lasts = random.i64(1..6) * HOUR;
        let place = random.u8(1..9);
        let id = self.table_mut(Resource::Events).next_id();
        let kind = random.choice(KINDS).copied().unwrap_or("event");
        let waitlist = (random.u8(..5) == 0).then(|| {
            object! {
                "id": id / 3,
                "waitlistable_id": id,
                "waitlistable_type": "Event",
                "created_at": created_at,
                "updated_at": created_at,
            }
        });
        let theme = object! {
            "id": id % 40 + 1,
            "name": "Security, \"web\" & co",
            "created_at": created_at,
            "updated_at": created_at,
        };
        let shown = object! {
            "id": id,
            "name": format!("{} N°{id} 🌈", random.choice(NAMES).copied().unwrap_or_default()),
            "description": "Bring your own laptop.\nThere's \"pizza\"; 5 € a slice.",
            "location": (random.u8(..9) > 0).then(|| format!("Amphi {place}")),
            "kind": kind,
            "max_people": (random.u8(..3) > 0).then(|| random.i64(8..200)),
            "nbr_subscribers": 0_i64,
            "begin_at": begin_at,
            "end_at": begin_at.plus_micros(lasts),
            "campus_ids": campus_ids,
            "cursus_ids": if kind == "piscine" { vec![PISCINE] } else { vec![CURSUS] },
            "themes": if random.bool() { vec![theme] } else { Vec::new() },
            "waitlist": waitlist,
            "prohibition_of_cancellation": (random.u8(..4) == 0).then(|| random.i64(1..48)),
            "created_at": created_at,
            "updated_at": created_at,
        };
        let hidden = object! { "remote": random.u8(..8) == 0 };
        self.table_mut(Resource::Events)
            .insert(Row::new(shown, hidden));
    }

    fn plan_exam(&mut self, begin_at: Stamp, random: &mut fastrand::Rng) {
        let Some(campus) = self.table(Resource::Campus).any(random) else {
            return;
        };
        let created_at = self.announced(begin_at, random);
        let projects = self.table(Resource::Projects);
        let project = projects.any_that(random, |project| project.flag("exam"));
        let project = project.or_else(|| projects.any(random));
        let id = self.table_mut(Resource::Exams).next_id();
        // Some of several cursus also in a small world.
        let is_shared = random.u8(..6) == 0 || id % 6 == 0;
        let cursus = if is_shared {
            vec![CURSUS, PISCINE]
        } else {
            vec![CURSUS]
        };
        let lasts = random.i64(3..9) * HOUR;
        let clusters = random.u8(1..5);
        let shown = object! {
            "id": id,
            "ip_range": format!("10.1{clusters}.0.0/16,10.42.0.0/16"),
            "begin_at": begin_at,
            "end_at": begin_at.plus_micros(lasts),
            "location": (random.u8(..9) > 0).then(|| format!("c1,c{clusters}")),
            "max_people": (random.u8(..4) > 0).then(|| random.i64(20..400)),
            "nbr_subscribers": random.i64(0..20),
            "name": format!("Exam Rank {:02}", random.u8(2..7)),
            "created_at": created_at,
            "updated_at": created_at,
            "campus": campus_of as Made,
            "cursus": cursus_of as Made,
            "projects": projects_of as Made,
        };
        let hidden = object! {
            "campus_id": campus,
            "cursus_ids": cursus,
            "project_id": project,
            "visible": id % 12 != 5,
        };
        self.table_mut(Resource::Exams)
            .insert(Row::new(shown, hidden));
    }

    /// When something was announced: days before, and never in the future.
    fn announced(&self, begin_at: Stamp, random: &mut fastrand::Rng) -> Stamp {
        let before = begin_at.plus_micros(-random.i64(2 * DAY..30 * DAY));
        before.min(self.now)
    }

    fn subscribe_to(&mut self, event_id: i64, random: &mut fastrand::Rng) {
        let Some(user_id) = self.any_student(random) else {
            return;
        };
        let subscriptions = self.table_mut(Resource::EventsUsers);
        let shown = object! {
            "id": subscriptions.next_id(),
            "event_id": event_id,
            "user_id": user_id,
            "user": subscriber as Made,
            "event": event_of as Made,
        };
        subscriptions.insert(Row::new(shown, Object::default()));
        self.count_subscriber(event_id, 1);
    }

    fn unsubscribe(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let Some(event) = self.coming(Resource::Events, at, random) else {
            return;
        };
        let is_of_event = |row: &&Row| row.key("event_id") == event;
        let subscription = self.table(Resource::EventsUsers).rows().find(is_of_event);
        if let Some(id) = subscription.map(|row| row.id) {
            self.remove(Resource::EventsUsers, id);
        }
    }

    fn move_event(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let by = random.i64(1..48) * HOUR;
        let event = self.coming(Resource::Events, at, random);
        let events = self.table_mut(Resource::Events);
        if let Some(event) = event.and_then(|id| events.get_mut(id)) {
            for field in ["begin_at", "end_at"] {
                let moved = event.time(field).map(|time| time.plus_micros(by));
                event.set(field, moved);
            }
            event.touch(at);
        }
    }

    fn cancel(&mut self, resource: Resource, at: Stamp, random: &mut fastrand::Rng) {
        if let Some(id) = self.coming(resource, at, random) {
            self.remove(resource, id);
        }
    }

    /// An event or exam that has not begun.
    fn coming(&self, resource: Resource, at: Stamp, random: &mut fastrand::Rng) -> Option<i64> {
        let is_coming = |row: &Row| row.time("begin_at") > Some(at);
        self.table(resource).any_that(random, is_coming)
    }
}

const KINDS: &[&str] = &[
    "pedago",
    "rush",
    "piscine",
    "partnership",
    "meet_up",
    "event",
    "association",
    "hackathon",
    "workshop",
    "challenge",
    "extern",
];

const NAMES: &[&str] = &[
    "Conférence",
    "Board games",
    "Hackathon d'été",
    "Réunion O'Reilly",
    "勉強会",
];

fn subscriber(row: &Row, world: &World) -> Cell {
    let id = row.key("user_id");
    let login = world.login(id);
    object! { "id": id, "login": login.clone(), "url": user_url(&login) }.into()
}

fn event_of(row: &Row, world: &World) -> Cell {
    let event = world.table(Resource::Events).get(row.key("event_id"));
    event.map(|event| &event.shown).into()
}

fn campus_of(row: &Row, world: &World) -> Cell {
    let campus = world.table(Resource::Campus).get(row.key("campus_id"));
    let campus = campus.map(|campus| {
        let mut nested = campus.shown.clone();
        nested.remove("endpoint");
        nested
    });
    campus.into()
}

fn cursus_of(row: &Row, world: &World) -> Cell {
    let every = world.table(Resource::Cursus).rows();
    let of_exam = every.filter(|cursus| is_of(row, Resource::Cursus, cursus.id));
    of_exam
        .map(|cursus| &cursus.shown)
        .collect::<Vec<_>>()
        .into()
}

fn projects_of(row: &Row, world: &World) -> Cell {
    let project = world.table(Resource::Projects).get(row.key("project_id"));
    let project = project.map(|project| {
        object! {
            "id": project.id,
            "name": reference::name(project),
            "slug": project.get::<String>("slug"),
            "exam": project.flag("exam"),
        }
    });
    project.into_iter().collect::<Vec<_>>().into()
}
