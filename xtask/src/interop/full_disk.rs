//! A disk that is really full: a small ext4 on a loop device.
//!
//! Mounting takes privileges; where they are missing the cases are skipped.

use super::recording::random_bytes;
use super::{CaseResult, Context, Unmet};
use crate::process;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const DISK_BYTES: u64 = 64 << 20;
/// What lies on the disk at first, and is removed to make space.
const FILLER_BYTES: u64 = 24 << 20;
/// More than fits beside the filler, less than fits without it and beside the ballast.
const SENT_BYTES: usize = 36 << 20;
/// What is sent at once, and the pause after it: some 50 MB/s.
const PIECE_BYTES: usize = 512 << 10;
const PIECE_PAUSE: Duration = Duration::from_millis(10);
/// How long anything may take before the case fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The mounted disk; unmounted when dropped.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    fn mount() -> Result<Self, Unmet> {
        let root = process::root().join("target/interop-disk");
        let disk = Self { image: root.with_extension("img"), mount: root };
        // What a run that was interrupted left.
        disk.unmount();
        let prepare = || -> std::io::Result<()> {
            fs::create_dir_all(&disk.mount)?;
            File::create(&disk.image)?.set_len(DISK_BYTES)
        };
        prepare().map_err(|error| Unmet::Failed(format!("{}: {error}", disk.image.display())))?;
        let lacking = |e| Unmet::Skipped(format!("no loop device can be mounted here: {e}"));
        process::output(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&disk.image))
            .map_err(lacking)?;
        let mut mount = Command::new("mount");
        process::output(mount.args(["-o", "loop"]).arg(&disk.image).arg(&disk.mount)).map_err(lacking)?;
        Ok(disk)
    }

    fn unmount(&self) {
        // Nothing may be mounted: then this has nothing to say.
        let _ = Command::new("umount").arg(&self.mount).stderr(Stdio::null()).status();
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.mount);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// A recorder on the disk, fed from a thread, with what it says in a file elsewhere.
struct Running {
    child: Child,
    /// Answers with the pipe, still open: its end is the source's.
    feeder: Option<JoinHandle<ChildStdin>>,
    said: PathBuf,
}

fn start(program: &Path, disk: &Disk, sent: Vec<u8>, words: &[&str]) -> Result<Running, String> {
    let said = disk.image.with_extension("said");
    let stderr = File::create(&said).map_err(|error| format!("{}: {error}", said.display()))?;
    let mut record = Command::new(program);
    record.arg("record").arg("--out").arg(disk.path("rec")).args(["--channel", "a=stdin"]).args(words);
    record.stdin(Stdio::piped()).stderr(stderr);
    let mut child = record.spawn().map_err(|error| format!("cannot start evenkeel: {error}"))?;
    let mut pipe = child.stdin.take().ok_or("no pipe to evenkeel")?;
    // A recorder that stops closes the pipe: what it does not take stays here.
    let feeder = std::thread::spawn(move || {
        for piece in sent.chunks(PIECE_BYTES) {
            if pipe.write_all(piece).is_err() {
                break;
            }
            // A flood would be dropped for want of memory, and never fill the disk.
            std::thread::sleep(PIECE_PAUSE);
        }
        pipe
    });
    Ok(Running { child, feeder: Some(feeder), said })
}

impl Running {
    /// Waits until the recorder has said `words`.
    fn wait_for(&self, words: &str) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(&self.said).unwrap_or_default();
            if said.contains(words) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("evenkeel did not say {words:?}, but: {said}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(mut self) -> Result<i32, String> {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if self.feeder.as_ref().is_some_and(JoinHandle::is_finished) {
                self.close_pipe()?;
            }
            match self.child.try_wait().map_err(|error| format!("evenkeel record: {error}"))? {
                Some(status) => break status,
                None if Instant::now() > until => {
                    let said = fs::read_to_string(&self.said).unwrap_or_default();
                    let _ = self.child.kill();
                    return Err(format!("evenkeel did not end; it said: {said}"));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let _ = fs::remove_file(&self.said);
        self.close_pipe()?;
        Ok(status.code().unwrap_or(-1))
    }

    /// Waits until all is sent, or nobody takes it any more, and ends the source.
    fn close_pipe(&mut self) -> Result<(), String> {
        let fed = self.feeder.take().map(JoinHandle::join).transpose();
        fed.map(drop).map_err(|_| "the feeder panicked".to_owned())
    }
}

/// The channel's bytes and the exit codes of `export` and `verify`.
fn read_back(program: &Path, disk: &Disk) -> Result<(Vec<u8>, i32, i32), String> {
    let run = |words: &[&str]| {
        let mut command = Command::new(program);
        command.arg(words[0]).arg(disk.path("rec")).args(&words[1..]);
        command.output().map_err(|error| format!("cannot start evenkeel: {error}"))
    };
    let export = run(&["export", "--channel", "a"])?;
    let verify = run(&["verify"])?;
    Ok((export.stdout, export.status.code().unwrap_or(-1), verify.status.code().unwrap_or(-1)))
}

fn fill(disk: &Disk) -> Result<(), String> {
    let filler = disk.path("filler");
    fs::write(&filler, random_bytes(FILLER_BYTES as usize)).map_err(|e| format!("{}: {e}", filler.display()))
}

/// `block`: the recorder waits for space, and goes on with nothing lost.
pub(super) fn waits_and_goes_on(context: &Context<'_>) -> CaseResult {
    let program = context.program()?;
    let disk = Disk::mount()?;
    fill(&disk)?;
    let sent = random_bytes(SENT_BYTES);
    let running = start(&program, &disk, sent.clone(), &[])?;
    running.wait_for("the disk is full")?;
    fs::remove_file(disk.path("filler")).map_err(|e| format!("filler: {e}"))?;
    let code = running.end()?;
    let (stored, exported, verified) = read_back(&program, &disk)?;
    if (code, exported, verified) != (0, 0, 0) {
        return Err(
            format!("record {code}, export {exported}, verify {verified}; 0 was expected of each").into()
        );
    }
    if stored != sent {
        return Err(format!("{} bytes stored, not the {} sent", stored.len(), sent.len()).into());
    }
    Ok(())
}

/// `drop-newest`: the source is read on, what finds no room is declared, and recording goes on
/// when there is space.
pub(super) fn drops_and_declares(context: &Context<'_>) -> CaseResult {
    let program = context.program()?;
    let disk = Disk::mount()?;
    fill(&disk)?;
    let sent = random_bytes(SENT_BYTES);
    let running = start(&program, &disk, sent.clone(), &["--on-full", "a=drop-newest"])?;
    running.wait_for("the disk is full")?;
    fs::remove_file(disk.path("filler")).map_err(|e| format!("filler: {e}"))?;
    running.wait_for("recording goes on")?;
    let code = running.end()?;
    let (stored, exported, verified) = read_back(&program, &disk)?;
    if (code, exported, verified) != (0, 6, 6) {
        return Err(format!("record {code}, export {exported}, verify {verified}; 0, 6, 6 expected").into());
    }
    let mut verify = Command::new(&program);
    verify.arg("verify").arg(disk.path("rec")).arg("--json");
    let output = verify.output().map_err(|error| format!("cannot start evenkeel: {error}"))?;
    let found: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("evenkeel verify: {error}"))?;
    let gaps = found["gaps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let dropped: u64 = gaps.iter().filter_map(|gap| gap["bytes"].as_u64()).sum();
    let declared = gaps.iter().all(|gap| gap["reason"] == "drop-newest");
    let all = stored.len() as u64 + dropped == sent.len() as u64;
    if !all || !declared || dropped == 0 || !sent.starts_with(&stored[..1 << 20]) {
        return Err(format!("{} stored, {dropped} declared, {gaps:?}", stored.len()).into());
    }
    Ok(())
}

/// A stop on a full disk seals, and says whether all that was accepted found room.
pub(super) fn stops_sealed(context: &Context<'_>) -> CaseResult {
    let program = context.program()?;
    let disk = Disk::mount()?;
    fill(&disk)?;
    let sent = random_bytes(SENT_BYTES);
    let running = start(&program, &disk, sent.clone(), &[])?;
    running.wait_for("the disk is full")?;
    process::run(Command::new("kill").args(["-TERM", &running.child.id().to_string()]))?;
    let code = running.end()?;
    let (stored, exported, verified) = read_back(&program, &disk)?;
    let expected = match code {
        0 => (0, 0),
        1 => (6, 6),
        _ => return Err(format!("record ended with {code}; 0 or 1 was expected").into()),
    };
    if (exported, verified) != expected {
        return Err(format!("record {code}, export {exported}, verify {verified}").into());
    }
    if stored.is_empty() || !sent.starts_with(&stored) {
        return Err(format!("the {} bytes stored are not the first of those sent", stored.len()).into());
    }
    if disk.path("rec/000001.mcap.part").exists() {
        return Err("the segment was not sealed".to_owned().into());
    }
    Ok(())
}
