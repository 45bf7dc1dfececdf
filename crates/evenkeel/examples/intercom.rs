//! A service with two channels, each writing what it hears into a file; Ctrl-C
//! stops it in order, and the exit code says whether everything is on disk.
//!
//! ```sh
//! cargo run -p evenkeel --example intercom
//! ```

use evenkeel::prelude::*;
use evenkeel::threads::Pulse;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One channel's file, and how far it was written.
struct Tape {
    path: PathBuf,
    file: Mutex<File>,
    written: AtomicU64,
    is_closed: AtomicBool,
}

impl Tape {
    fn create(path: PathBuf) -> io::Result<Arc<Self>> {
        let file = Mutex::new(File::create(&path)?);
        Ok(Arc::new(Self { path, file, written: AtomicU64::new(0), is_closed: AtomicBool::new(false) }))
    }

    /// Writes until it is told that no more will come; who watches hears of it meanwhile.
    fn listen(&self, pulse: &Pulse<'_>) -> io::Result<()> {
        while !self.is_closed.load(Ordering::Acquire) {
            pulse.beat();
            let heard = b"la la la\n";
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(heard)?;
            self.written.fetch_add(heard.len() as u64, Ordering::AcqRel);
            pulse.waiting(|| std::thread::sleep(10.milliseconds()));
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).sync_all()
    }

    fn is_whole(&self) -> io::Result<bool> {
        Ok(self.path.metadata()?.len() == self.written.load(Ordering::Acquire))
    }
}

fn main() -> ExitCode {
    let builder = Keel::builder("intercom").grace(20.seconds()).report("intercom.json");
    evenkeel::main(builder, async |keel| {
        for name in ["left", "right"] {
            let channel = keel.channel(name)?;
            let tape = Tape::create(format!("intercom-{name}.txt").into())?;
            let heard = tape.clone();
            let listener =
                keel.threads().thread(format!("listen-{name}")).start(move |pulse| heard.listen(pulse))?;
            let listener = Arc::new(Mutex::new(Some(listener)));

            let closing = tape.clone();
            let stopped = channel
                .cleanup(format!("stop/{name}"))
                .phase(Phase::StoppingCapture)
                .run_blocking(move |_| -> Result<(), Box<dyn Error + Send + Sync>> {
                    closing.is_closed.store(true, Ordering::Release);
                    let listener = listener.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(listener) = listener {
                        listener.join()??;
                    }
                    Ok(())
                })
                .verify_blocking({
                    let tape = tape.clone();
                    move |_| tape.is_closed.load(Ordering::Acquire)
                })
                .register()?;

            let (flushed, checked) = (tape.clone(), tape);
            channel
                .cleanup(format!("flush/{name}"))
                .phase(Phase::FlushingStorage)
                .after(&stopped)
                .timeout(5.seconds())
                .run_blocking(move |_| flushed.flush())
                .verify_blocking(move |_| checked.is_whole())
                .register()?;
        }
        // Whatever threads and jobs there are by then: none is left, or the stop names it.
        keel.stop_threads(5.seconds())?;
        eprint!("{}", evenkeel::cleanup::PlanPicture::of(&keel.plan()));
        eprintln!("listening; Ctrl-C stops");
        Ok(())
    })
}
