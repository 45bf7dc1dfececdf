//! What a hundred quiet channels cost.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::proc::{self, CpuTime};
use super::running::{Channel, Running};
use super::{CHANNELS, Context, Part, mebibytes, numbered};
use crate::bench::goal::Goal;
use crate::bench::report::{Better, Measured};
use crate::process;

/// Until what the start has left is done.
const SETTLE: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(10);

/// As many channels of each kind.
const KINDS: [&str; 4] = ["tcp", "unix", "udp", "exec"];
const EACH: usize = CHANNELS / KINDS.len();

const HELLO: &[u8] = b"the only line\n";
const SILENCE: &str = "silence";
/// The command, which says its line when nothing but the end of the silence can end it or hold it up.
const WAITS: &str = "exec < silence; echo the only line; exec cat";

/// Measures the recorder while nothing happens.
///
/// # Errors
/// When it does not record what little there is, or does not stop clean.
pub(super) fn run(context: &Context) -> Result<Part, String> {
    if !proc::is_there() {
        return Ok(Part::skipped("idle: no /proc of Linux here".to_owned()));
    }
    let ticks_per_second = match proc::ticks_per_second() {
        Ok(ticks) => ticks,
        Err(why) => return Ok(Part::skipped(format!("idle: {why}"))),
    };
    let directory = context.place.fresh("idle")?;
    process::run(&mut Command::new("sync"))?;
    let _silence = silence(&directory)?;
    let running = Running::start(&context.evenkeel, &directory, &channels(), &[])?;
    let _open = speak_once(&running)?;
    thread::sleep(SETTLE);

    let (before, began) = (CpuTime::of(running.pid())?, Instant::now());
    thread::sleep(WINDOW);
    let (after, window) = (CpuTime::of(running.pid())?, began.elapsed());
    let resident = proc::resident_bytes(running.pid()).ok_or("evenkeel record has ended")?;
    running.stop(|_| {})?;
    context.place.clear("idle")?;

    let percent = percent_of_a_core(after.since(before, ticks_per_second), window);
    println!("{percent:.3} % of a core, {:.1} MiB", mebibytes(resident));
    Ok(Part { workload: workload(), results: results(percent, mebibytes(resident)), skipped: Vec::new() })
}

fn workload() -> String {
    format!(
        "`idle/100 channels`: {EACH} each of `tcp` and `unix`, with a connection that stays open, of `udp`, and of \
         `exec`, a command that waits; each has sent one line at the start and says nothing more. {} s later, \
         processor time of all threads over {} s, to less than 0.1 %; one run. `rss`: resident at \
         the end of those.",
        SETTLE.as_secs(),
        WINDOW.as_secs()
    )
}

fn percent_of_a_core(taken: Duration, window: Duration) -> f64 {
    100.0 * taken.as_secs_f64() / window.as_secs_f64()
}

fn results(percent: f64, mebibytes: f64) -> Vec<Measured<'static>> {
    let measured = |id, unit, ours, goal| Measured {
        id,
        unit,
        better: Better::Lower,
        ours,
        peers: BTreeMap::new(),
        goal,
    };
    vec![
        measured("idle/100 channels", "% of a core", percent, Some(Goal::Below(1.0, "% of a core"))),
        measured("idle/100 channels, rss", "MiB", mebibytes, None),
    ]
}

/// A fifo from which nothing ever comes. Who reads it ends when this is dropped.
fn silence(directory: &Path) -> Result<File, String> {
    let path = directory.join(SILENCE);
    process::run(Command::new("mkfifo").arg(&path))?;
    // Linux opens a fifo for both without waiting for another.
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    opened.map_err(|error| format!("{}: {error}", path.display()))
}

fn channels() -> Vec<Channel> {
    let kinds = (0..EACH).flat_map(|number| KINDS.map(|kind| (kind, numbered(kind, number))));
    let channels = kinds.map(|(kind, name)| {
        let source = match kind {
            "unix" => format!("unix:{name}"),
            "exec" => format!("exec:{WAITS}"),
            _ => format!("{kind}:127.0.0.1:0"),
        };
        Channel { name, source, framing: None }
    });
    channels.collect()
}

/// Sends a line to every channel that listens; the connections, open.
fn speak_once(running: &Running) -> Result<Vec<OwnedFd>, String> {
    let mut open = Vec::new();
    for number in 0..EACH {
        for kind in KINDS.iter().filter(|kind| **kind != "exec") {
            let name = numbered(kind, number);
            let spoken = match *kind {
                "tcp" => running.listening(&name).map(|address| tcp(&address)),
                "udp" => running.listening(&name).map(|address| udp(&address)),
                // Short enough for a socket's name wherever the workspace lies.
                _ => Ok(unix(&format!("/proc/{}/cwd/{name}", running.pid()))),
            };
            open.push(spoken?.map_err(|error| format!("{name}: {error}"))?);
        }
    }
    Ok(open)
}

fn tcp(address: &str) -> io::Result<OwnedFd> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(HELLO)?;
    Ok(stream.into())
}

fn unix(path: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(HELLO)?;
    Ok(stream.into())
}

fn udp(address: &str) -> io::Result<OwnedFd> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(HELLO, address)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::Stdio;

    #[test]
    fn there_are_a_hundred_channels_with_names_of_their_own() {
        let names: std::collections::BTreeSet<_> =
            channels().into_iter().map(|channel| channel.name).collect();
        assert_eq!(names.len(), CHANNELS);
    }

    #[test]
    fn the_goal_is_a_hundredth_of_a_core() {
        let percent = |taken| percent_of_a_core(Duration::from_millis(taken), Duration::from_secs(10));
        assert_eq!([0, 75, 20_000].map(|taken| percent(taken).to_string()), ["0", "0.75", "200"]);
        let met = |percent| {
            let goal = results(percent, 1.0)[0].goal;
            goal.and_then(|goal| goal.is_met(percent, &BTreeMap::new()))
        };
        assert_eq!([met(0.9), met(1.0)], [Some(true), Some(false)]);
    }

    #[test]
    fn who_reads_the_silence_ends_with_it() {
        let directory = std::env::temp_dir().join(format!("evenkeel-idle-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let silence = silence(&directory).unwrap();
        let mut reader = Command::new("sh");
        reader.args(["-c", WAITS]).current_dir(&directory).stdout(Stdio::piped());
        let mut reader = reader.spawn().unwrap();
        let mut said = reader.stdout.take().unwrap();
        let mut line = [0; HELLO.len()];
        said.read_exact(&mut line).unwrap();
        assert_eq!((line.as_slice(), reader.try_wait().unwrap()), (HELLO, None));
        drop(silence);
        assert_eq!(said.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert!(reader.wait().unwrap().success());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
