//! Every setting of every command, as `docs/settings.md` shows it.
use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use super::cli::Cli;

const HEAD: &str = "# Settings

Every flag has a variable; the flag wins. All mistakes are told at once, before anything starts. `make generate` writes this page; `twinops <command> --help`
says more.
";

/// The page as Markdown with a line at its end; the same for the same version.
pub fn table() -> String {
    let mut page = HEAD.to_owned();
    let cli = Cli::command();
    // Writing to a text never fails.
    let _ = section(&mut page, "every command", &cli);
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        let _ = section(&mut page, &format!("twinops {}", command.get_name()), command);
    }
    page
}

fn section(page: &mut String, title: &str, command: &Command) -> std::fmt::Result {
    write!(page, "\n## {title}\n\n| flag | variable | default | |\n|---|---|---|---|\n")?;
    let flags = command.get_arguments().filter(|flag| flag.get_env().is_some() && !flag.is_hide_set());
    for flag in flags {
        writeln!(page, "| `{}` | `{}` | {} | {} |", name(flag), variable(flag), default(flag), help(flag))?;
    }
    Ok(())
}

fn name(flag: &Arg) -> String {
    let value =
        flag.get_value_names().and_then(|names| names.first()).filter(|_| flag.get_action().takes_values());
    let long = flag.get_long().unwrap_or_default();
    value.map_or_else(|| format!("--{long}"), |value| format!("--{long} {value}"))
}

fn variable(flag: &Arg) -> String {
    flag.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn default(flag: &Arg) -> String {
    let values = flag.get_default_values().iter().filter(|_| flag.get_action().takes_values());
    values.map(|value| format!("`{}`", value.to_string_lossy())).collect::<Vec<_>>().join(", ")
}

/// The first paragraph, on one line.
fn help(flag: &Arg) -> String {
    let text = flag.get_help().map(ToString::to_string).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
