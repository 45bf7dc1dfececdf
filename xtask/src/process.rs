//! Starting other programs, and where things are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace")
}

/// Cargo, the one that runs us, started at the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command with our own output; fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", shown(command))) }
}

/// Runs a command and returns what it printed; fails unless it exits with 0,
/// with what it said on standard error.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}: {}", shown(command), output.status, said.trim()))
}

/// As [`output`], as trimmed text.
pub(crate) fn text_output(command: &mut Command) -> Result<String, String> {
    let bytes = output(command)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Whether a program of this name can be started.
pub(crate) fn on_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The program under test: `given`, or built here in release.
pub(crate) fn evenkeel(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    }
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--package", "evenkeel-cli", "--bin", "evenkeel"]);
    build.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let messages = output(&mut build)?;
    executable_in(&String::from_utf8_lossy(&messages))
        .ok_or_else(|| "cargo build named no executable `evenkeel`".to_owned())
}

/// The last executable that cargo's JSON messages name.
fn executable_in(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
}

/// The value that follows an option on the command line.
pub(crate) fn option_value<'a>(
    option: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<&'a String, String> {
    rest.next().ok_or_else(|| format!("`{option}` needs a value"))
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", shown(command))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        assert!(error.contains("sh -c") && error.contains('3') && error.ends_with("broken"), "{error}");
        assert!(run(&mut Command::new("false")).is_err());
        assert!(output(&mut Command::new("no-such-program-anywhere")).unwrap_err().contains("cannot start"));
    }

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages =
            "not json\n{\"executable\":null}\n{\"executable\":\"out/evenkeel\"}\n{\"reason\":\"x\"}\n";
        assert_eq!(executable_in(messages), Some(PathBuf::from("out/evenkeel")));
    }
}
