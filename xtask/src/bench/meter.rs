//! One run of a program that reads a pipe: how long, how much processor time,
//! how much memory.
//!
//! The feeder is `cat FILE`; without it a program is measured that reads for itself. The clock runs from before the feeder starts to the
//! exit of the program. Processor time and memory are those of the program alone,
//! from GNU time, or, where that is missing, from the shell's `time`, which does
//! not tell memory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const GNU_TIME: &str = "/usr/bin/time";

/// Keeps the shell's own report apart from what the program says.
const SHELL_TIME: &str = r#"TIMEFORMAT="%U %S"; { time "$@" 2>&3; } 3>&2 2>"$TIMES""#;

/// A program to feed, and where its standard output goes.
pub(super) struct Fed {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    /// A file for standard output; none is for a program that writes its own files.
    pub(super) stdout: Option<PathBuf>,
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    pub(super) elapsed: Duration,
    /// User and system time.
    pub(super) cpu: Duration,
    /// The most memory that was resident, where it could be measured.
    pub(super) rss_bytes_max: Option<u64>,
}

/// Whether memory can be measured here.
pub(super) fn measures_memory() -> bool {
    Path::new(GNU_TIME).is_file()
}

/// Runs `fed` with the file, or nothing, on its standard input; `scratch` is a directory that exists.
///
/// # Errors
/// When the program or the feeder does not exit with 0.
pub(super) fn measure(fed: &Fed, input: Option<&Path>, scratch: &Path) -> Result<Took, String> {
    let times = scratch.join("times");
    let mut command = timed(fed, &times);
    if let Some(path) = &fed.stdout {
        command.stdout(File::create(path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let name = fed.program.to_string_lossy();
    let failed = |error: std::io::Error| format!("{name}: {error}");

    if let Some(input) = input {
        read_through(input).map_err(|error| format!("{}: {error}", input.display()))?;
    }
    let started = Instant::now();
    let feed = |input| Command::new("cat").arg(input).stdout(Stdio::piped()).spawn();
    let mut feeder = input.map(feed).transpose().map_err(failed)?;
    let pipe = feeder.as_mut().and_then(|feeder| feeder.stdout.take());
    let status = command.stdin(pipe.map_or_else(Stdio::null, Stdio::from)).status();
    let elapsed = started.elapsed();
    drop(command); // our end of the pipe, so that the feeder ends too
    let fed_all = feeder.map(|mut feeder| feeder.wait()).transpose().map_err(failed)?;
    let status = status.map_err(failed)?;
    if !status.success() {
        return Err(format!("{name}: {status}"));
    }
    if fed_all.is_some_and(|fed_all| !fed_all.success()) {
        return Err(format!("{name} did not read its standard input to the end"));
    }
    let report = fs::read_to_string(&times).map_err(failed)?;
    let (cpu, rss_bytes_max) = read_times(&report).ok_or_else(|| format!("no times in {report:?}"))?;
    Ok(Took { elapsed, cpu, rss_bytes_max })
}

/// Reads a file, so that the feeder has it from memory: systems that reclaim the page cache
/// early would have it from the disk otherwise, beside what is measured.
fn read_through(path: &Path) -> std::io::Result<()> {
    let (mut file, mut piece) = (File::open(path)?, vec![0; 1 << 20]);
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

/// The command that runs the program and writes its times to a file.
fn timed(fed: &Fed, times: &Path) -> Command {
    let mut command;
    if measures_memory() {
        command = Command::new(GNU_TIME);
        command.args(["--format", "%U %S %M", "--output"]).arg(times);
    } else {
        command = Command::new("bash");
        command.args(["-c", SHELL_TIME, "bash"]).env("TIMES", times);
    }
    command.env("LC_ALL", "C").arg(&fed.program).args(&fed.args);
    command
}

/// User and system seconds, and kibibytes if they are there, from the last line.
fn read_times(report: &str) -> Option<(Duration, Option<u64>)> {
    let mut words = report.lines().last()?.split(' ');
    let user = words.next()?.parse::<f64>().ok()?;
    let system = words.next()?.parse::<f64>().ok()?;
    let kibibytes = words.next().map(|word| word.parse::<u64>().ok());
    let rss = match kibibytes {
        Some(parsed) => Some(parsed? * 1024),
        None => None,
    };
    Some((Duration::try_from_secs_f64(user + system).ok()?, rss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_memory() {
        let seconds = Duration::from_millis(1750);
        assert_eq!(read_times("1.50 0.25 2048\n"), Some((seconds, Some(2048 * 1024))));
        assert_eq!(read_times("1.500 0.250\n"), Some((seconds, None)));
        for bad in ["", "x y", "1.0", "1.0 1.0 many", "-1.0 0.0"] {
            assert_eq!(read_times(bad), None, "{bad}");
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("evenkeel-meter-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn shell(script: &str, stdout: Option<PathBuf>) -> Fed {
        Fed { program: "sh".into(), args: ["-c", script].map(OsString::from).to_vec(), stdout }
    }

    #[test]
    fn a_program_is_fed_and_measured() {
        let directory = scratch("good");
        let (input, output) = (directory.join("in"), directory.join("out"));
        fs::write(&input, "fed").unwrap();
        let took = measure(&shell("cat", Some(output.clone())), Some(&input), &directory).unwrap();
        assert_eq!(fs::read_to_string(&output).unwrap(), "fed");
        measure(&shell("cat", Some(output.clone())), None, &directory).unwrap();
        assert_eq!(fs::read_to_string(output).unwrap(), "");
        assert!(took.elapsed > Duration::ZERO);
        assert_eq!(took.rss_bytes_max.is_some(), measures_memory());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_failing_program_and_one_that_stops_reading_are_errors() {
        let directory = scratch("bad");
        let input = directory.join("in");
        fs::write(&input, vec![b'x'; 1 << 20]).unwrap();
        let refused = |script| measure(&shell(script, None), Some(&input), &directory).unwrap_err();
        assert!(refused("cat > /dev/null; exit 3").contains('3'));
        assert!(refused("exit 0").contains("did not read"));
        fs::remove_dir_all(directory).unwrap();
    }
}
