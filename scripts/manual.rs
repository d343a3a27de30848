//! Writes the man pages, one for each command: `cargo run --example manual -- DIRECTORY`.
//!
//! The text is that of `--help`; the binary itself holds no page.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use cursus::cli::Cli;
use jiff::Timestamp;

const DOCUMENTATION: &str =
    "README.md and docs/, which the Debian package has in /usr/share/doc/cursus";

fn main() -> anyhow::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        anyhow::bail!("no directory for the man pages; `cargo run --example manual -- DIRECTORY`");
    };
    std::fs::create_dir_all(&directory)?;
    let mut cli = Cli::command();
    cli.build();
    write_pages(&cli, &[], &directory)
}

/// Writes the page of a command and those of the commands below it; `above` are the names of the pages above.
fn write_pages(command: &Command, above: &[&str], directory: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone())
        .date(date()?)
        .source(format!("cursus {}", env!("CARGO_PKG_VERSION")));
    let mut page = File::create(directory.join(man.get_filename()))?;
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|one| has_page(one))
        .collect();
    if !below.is_empty() {
        man.render_subcommands_section(&mut page)?;
    }
    let help = command.get_after_long_help().or(command.get_after_help());
    let mut roff = Roff::new();
    if let Some(help) = help {
        add_notes(&mut roff, &help.to_string());
    }
    roff.control("SH", ["SEE ALSO"]);
    for page in above {
        roff.text([bold(*page), roman("(1),")]);
    }
    roff.text([roman(DOCUMENTATION)]);
    roff.to_writer(&mut page)?;
    let above = [above, &[name]].concat();
    below
        .into_iter()
        .try_for_each(|command| write_pages(command, &above, directory))
}

/// The day of the pages: of `SOURCE_DATE_EPOCH` where it is set, so that the same source gives the same pages.
fn date() -> anyhow::Result<String> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => Timestamp::from_second(seconds.parse()?)?,
        Err(_) => Timestamp::now(),
    };
    Ok(time.strftime("%Y-%m-%d").to_string())
}

/// Whether a command has a page of its own: `help` repeats the pages.
fn has_page(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

/// Adds what follows the options in `--help`. A line that ends in a colon is a heading; indented lines and columns are kept as they
/// are; others are prose.
fn add_notes(roff: &mut Roff, help: &str) {
    let lines = help.trim_end().lines();
    for (index, line) in lines.enumerate() {
        let indented = line.starts_with(' ');
        if let Some(heading) = line.strip_suffix(':').filter(|_| !indented) {
            roff.control("SH", [heading.to_uppercase().as_str()]);
            continue;
        }
        if index == 0 {
            roff.control("SH", ["NOTES"]);
        }
        if indented || line.contains("  ") {
            roff.control("nf", []);
            roff.text([roman(line)]);
            roff.control("fi", []);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages of a command and of those below it, with the options that each must name.
    fn pages(command: &Command, name: &str) -> Vec<(String, Vec<String>)> {
        let options = command.get_arguments().filter(|one| !one.is_hide_set());
        let options = options.filter_map(clap::Arg::get_long);
        // Roff's hyphen, at which no line is broken.
        let options = options.map(|long| format!("--{long}").replace('-', r"\-"));
        let mut found = vec![(name.to_owned(), options.collect())];
        for below in command.get_subcommands().filter(|one| has_page(one)) {
            found.extend(pages(below, &format!("{name}-{}", below.get_name())));
        }
        found
    }

    #[test]
    fn every_command_has_a_page_with_all_its_options() {
        let folder = tempfile::tempdir().unwrap();
        let mut cli = Cli::command();
        cli.build();
        write_pages(&cli, &[], folder.path()).unwrap();
        let pages = pages(&cli, "cursus");
        assert!(pages.len() > 20, "{pages:?}");
        assert_eq!(folder.path().read_dir().unwrap().count(), pages.len());
        for (name, options) in pages {
            let page = std::fs::read_to_string(folder.path().join(format!("{name}.1")));
            let page = page.unwrap_or_else(|error| panic!("{name}.1: {error}"));
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] {
                assert!(page.contains(section), "{name}.1 lacks {section}");
            }
            for option in options {
                assert!(page.contains(&option), "{name}.1 lacks {option}");
            }
        }
    }
}
