//! Four sources of different kinds, stopped in full flow: what each had accepted is,
//! byte for byte, what another reader finds, and what `export` prints.

use super::mcap_python::same;
use super::recording::random_bytes;
use super::{CaseResult, Context, Unmet};
use crate::process;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PUSHED_BYTES: usize = 200_000_000;
const FILE_BYTES: usize = 100_000_000;
/// The stop comes when so many bytes of the connection are safe.
const STOP_AT_BYTES: u64 = 30_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
const COUNTER: &str = "count=exec:i=0; while :; do i=$((i+1)); echo $i; done";

/// Where everything lies; removed when dropped.
struct Place(PathBuf);

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn agrees(context: &Context<'_>) -> CaseResult {
    let python = context.python()?;
    let program = context.program()?;
    let place = Place(process::root().join("target/interop-flow"));
    let failed = |e: std::io::Error| Unmet::Failed(format!("{}: {e}", place.0.display()));
    if place.0.exists() {
        fs::remove_dir_all(&place.0).map_err(failed)?;
    }
    fs::create_dir_all(&place.0).map_err(failed)?;
    let filed = random_bytes(FILE_BYTES);
    fs::write(place.path("source"), &filed).map_err(failed)?;
    let pushed = Arc::new(random_bytes(PUSHED_BYTES));
    record_and_stop(&program, &place, pushed.clone())?;
    let report: Value = serde_json::from_str(&place.text("report.json"))
        .map_err(|error| Unmet::Failed(format!("the report: {error}")))?;
    for channel in report["channels"].as_array().into_iter().flatten() {
        let name = channel["name"].as_str().unwrap_or_default();
        let accepted = channel["accepted_bytes"].as_u64().unwrap_or(0) as usize;
        if accepted == 0 {
            return Err(Unmet::Failed(format!("{name} accepted nothing")));
        }
        let sent = match name {
            "count" => (1u64..).flat_map(|n| format!("{n}\n").into_bytes()).take(accepted).collect(),
            "net" => pushed[..accepted].to_vec(),
            "gram" => (0..).flat_map(datagram).take(accepted).collect(),
            _ => filed[..accepted].to_vec(),
        };
        fs::write(place.path("sent"), sent).map_err(failed)?;
        let exported = File::create(place.path("exported")).map_err(failed)?;
        let mut export = Command::new(&program);
        process::run(export.arg("export").arg(place.path("rec")).args(["--channel", name]).stdout(exported))?;
        let sent = python.hash(&place.path("sent"))?;
        same(&format!("`evenkeel export` of {name}"), &python.hash(&place.path("exported"))?, &sent)?;
        same(&format!("the Python reader of {name}"), &python.read(&place.path("rec"), name)?, &sent)?;
    }
    Ok(())
}

fn record_and_stop(program: &Path, place: &Place, pushed: Arc<Vec<u8>>) -> Result<(), String> {
    let said = File::create(place.path("said")).map_err(|error| format!("said: {error}"))?;
    let mut record = Command::new(program);
    record.arg("record").arg("--out").arg(place.path("rec")).arg("--report").arg(place.path("report.json"));
    record.args(["--channel", COUNTER, "--frame", "count=lines", "--channel", "net=tcp:127.0.0.1:0"]);
    record.args(["--channel", "gram=udp:127.0.0.1:0", "--channel"]);
    record.arg(format!("disk=file:{}", place.path("source").display())).stderr(said);
    let mut child = record.spawn().map_err(|error| format!("cannot start evenkeel: {error}"))?;
    let flowed = flow(program, place, pushed, &child);
    let ended = flowed.and_then(|()| end(&mut child));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended.map_err(|error| format!("{error}; evenkeel said: {}", place.text("said")))
}

/// Sends, until the connection is in full flow, and asks for the stop.
fn flow(program: &Path, place: &Place, pushed: Arc<Vec<u8>>, child: &Child) -> Result<(), String> {
    let over = Arc::new(AtomicBool::new(false));
    let pusher = {
        let mut peer = TcpStream::connect(listening(place, "net")?).map_err(|error| error.to_string())?;
        // It is cut off in the midst of it.
        std::thread::spawn(move || drop(peer.write_all(&pushed)))
    };
    let sender = {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        socket.connect(listening(place, "gram")?).map_err(|error| error.to_string())?;
        let over = over.clone();
        std::thread::spawn(move || {
            for n in 0.. {
                if over.load(Ordering::Relaxed) || socket.send(&datagram(n)).is_err() {
                    break;
                }
                // A pace at which no kernel drops.
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    let until = Instant::now() + PATIENCE;
    let stopped = loop {
        if committed(program, place).is_some_and(|bytes| bytes >= STOP_AT_BYTES) {
            break process::run(Command::new("kill").args(["-TERM", &child.id().to_string()]));
        }
        if Instant::now() > until {
            break Err("the connection never flowed".to_owned());
        }
    };
    let joined = pusher.join();
    over.store(true, Ordering::Relaxed);
    let joined = joined.and(sender.join());
    stopped.and(joined.map_err(|_| "a sender panicked".to_owned()))
}

/// Bytes of the connection that are safe, as `evenkeel status` says.
fn committed(program: &Path, place: &Place) -> Option<u64> {
    let mut status = Command::new(program);
    let printed = process::output(status.arg("status").arg(place.path("rec")).arg("--json")).ok()?;
    let status: Value = serde_json::from_slice(&printed).ok()?;
    let channels = status["channels"].as_array()?;
    channels.iter().find(|channel| channel["name"] == "net")?["committed_bytes"].as_u64()
}

fn datagram(n: u64) -> Vec<u8> {
    format!("datagram {n} ").repeat(1 + (n % 7) as usize).into_bytes()
}

fn listening(place: &Place, channel: &str) -> Result<String, String> {
    let sought = format!("{channel}: listening on ");
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let said = place.text("said");
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some(address) = whole.lines().find_map(|line| line.strip_prefix(&sought)) {
            return Ok(address.to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("{channel} never listened"))
}

fn end(child: &mut Child) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("evenkeel record: {status}")),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Err("evenkeel record did not end".to_owned())
}
