//! Word lists, and the names that break careless programs. Data only; all invented.

/// Where the links inside rows point; nothing answers there.
pub(super) const HOST: &str = "https://api.intra.example";

pub(super) const FIRST: &[&str] = &[
    "Ada", "Amine", "Anaïs", "Bao", "Chloé", "Dario", "Elif", "Emre", "Fatou", "Goran", "Hana",
    "Inès", "Jun", "Kofi", "Léa", "Mateo", "Mina", "Nora", "Oskar", "Pia", "Quentin", "Rosa",
    "Sami", "Tariq", "Uma", "Vera", "Wiktor", "Xenia", "Yara", "Zoé",
];

pub(super) const LAST: &[&str] = &[
    "Abbas", "Bernard", "Costa", "Dupont", "Eriksen", "Ferreira", "García", "Haddad", "Ito",
    "Jansen", "Kowalski", "Lefèvre", "Müller", "Nguyen", "Okafor", "Petrov", "Quispe", "Rossi",
    "Silva", "Tanaka", "Ustinov", "Virtanen", "Weber", "Yılmaz", "Zapata",
];

/// First and last names that hurt: quotes, escapes, control characters, wide and right-to-left writing, look-alikes of NULL.
pub(super) const HURTING: &[(&str, &str)] = &[
    ("Siobhán", "O'Brien"),
    ("Jean \"JJ\"", "D'Aubigné"),
    ("Back\\slash", "C:\\new\\table"),
    ("Tab\there", "Line\nbreak"),
    ("Carriage\r\nReturn", "Trailing space "),
    ("😀👩‍👩‍👧‍👦", "🇫🇷Flag"),
    ("محمد", "بن سلمان"),
    ("עברית", "\u{202e}desrever"),
    ("NULL", "null"),
    ("\\N", "\\."),
    ("", ""),
    (" ", "\u{a0}"),
    ("Robert'); DROP TABLE users;--", "$$dollar$$"),
    ("{curly,\"array\"}", "[1,2]"),
    ("<b>bold</b>", "&amp;"),
    ("e\u{301}ve", "\u{fffd}\u{feff}"),
    ("美咲", "田中"),
    ("a,b;c", "%s%n {} ${HOME}"),
    ("\u{1b}[31mred\u{1b}[0m", "bell\u{7}"),
];

pub(super) const CITIES: &[(&str, &str, &str)] = &[
    ("Port-Azur", "France", "Europe/Paris"),
    ("São-Lírio", "Brazil", "America/Sao_Paulo"),
    ("Nordhavn", "Denmark", "Europe/Copenhagen"),
    ("Al-Waha", "United Arab Emirates", "Asia/Dubai"),
    ("Kitamori", "Japan", "Asia/Tokyo"),
    ("Grünfeld", "Germany", "Europe/Berlin"),
    ("Monteclaro", "Spain", "Europe/Madrid"),
    ("Lumière", "Belgium", "Europe/Brussels"),
    ("Vila Nova", "Portugal", "Europe/Lisbon"),
    ("Hanbit", "South Korea", "Asia/Seoul"),
    ("Karşıova", "Turkey", "Europe/Istanbul"),
    ("Saint-Aubin", "Switzerland", "Europe/Zurich"),
    ("Oued-Zine", "Morocco", "Africa/Casablanca"),
    ("Bright's Creek", "Australia", "Australia/Adelaide"),
    ("Tupã", "Brazil", "America/Fortaleza"),
];

pub(super) const PROJECT_WORDS: &[&str] = &[
    "Libft",
    "Get_next_line",
    "Printf",
    "Push_swap",
    "Minitalk",
    "Philosophers",
    "Minishell",
    "Cub3D",
    "NetPractice",
    "CPP Module",
    "Inception",
    "Webserv",
    "Exam Rank",
    "Rush",
    "Day",
    "Internship",
    "Part_Time",
    "Kernel",
    "Matcha",
    "Doom",
];

pub(super) const ACHIEVEMENT_WORDS: &[&str] = &[
    "Welcome, Learner !",
    "Marathon",
    "Night owl",
    "Bill Gates",
    "Helping hand",
    "Perfect week",
    "Clean-up crew",
    "I'm free!",
    "404 - Sleep not found",
    "All work and no play",
];

pub(super) const COALITION_WORDS: &[&str] = &[
    "The Alliance",
    "The Federation",
    "The Order",
    "The Assembly",
    "Analysts",
    "Sentinels",
    "Pandora",
    "Vortex",
    "Ember",
    "Tide",
];

pub(super) const SKILLS: &[(i64, &str)] = &[
    (1, "Algorithms & AI"),
    (2, "Imperative programming"),
    (3, "Rigor"),
    (4, "Unix"),
    (7, "Group & interpersonal"),
    (10, "Network & system administration"),
    (14, "Adaptation & creativity"),
];

pub(super) const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
