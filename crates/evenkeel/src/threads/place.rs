//! Where and how urgently a thread runs, as far as the system lets it.

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

/// What a thread asks of the system when it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Its nice value: -20, the most urgent, to 19.
    pub(super) nice: Option<i32>,
    /// Processors that it runs on; empty: all.
    pub(super) cores: Vec<usize>,
}

impl Place {
    /// Asks it for the calling thread; answers what it does not get, and why.
    pub(super) fn take(&self) -> Vec<String> {
        let mut refused = Vec::new();
        // On Linux a process of number 0 is the calling thread.
        if let Some(nice) = self.nice
            && let Err(e) = setpriority_process(None, nice)
        {
            refused.push(format!("it has no nice value of {nice}: {}", std::io::Error::from(e)));
        }
        if !self.cores.is_empty() {
            refused.extend(self.pin().err());
        }
        refused
    }

    fn pin(&self) -> Result<(), String> {
        let mut set = CpuSet::new();
        for core in &self.cores {
            if *core >= CpuSet::MAX_CPU {
                return Err(format!(
                    "it is not pinned: there is no processor {core}, only 0 to {}",
                    CpuSet::MAX_CPU - 1
                ));
            }
            set.set(*core);
        }
        sched_setaffinity(None, &set).map_err(|e| {
            format!("it is not pinned to processors {:?}: {}", self.cores, std::io::Error::from(e))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use rustix::process::getpriority_process;
    use rustix::thread::sched_getaffinity;

    // REQ T5
    #[test]
    fn a_thread_takes_its_place_and_says_what_it_does_not_get() {
        // Whatever this program was started with.
        let own = getpriority_process(None).unwrap();
        let nicer = (own + 5).min(19);
        let seen = std::thread::spawn(move || {
            let core =
                (0..CpuSet::MAX_CPU).find(|core| sched_getaffinity(None).unwrap().is_set(*core)).unwrap();
            let place = Place { nice: Some(nicer), cores: vec![core] };
            assert_eq!(place.take(), Vec::<String>::new());
            let absent = Place { nice: None, cores: vec![CpuSet::MAX_CPU] };
            assert!(absent.take()[0].contains("there is no processor"));
            (getpriority_process(None).unwrap(), sched_getaffinity(None).unwrap().count())
        });
        assert_eq!(seen.join().unwrap(), (nicer, 1));
        assert_eq!(getpriority_process(None).unwrap(), own, "others keep theirs");
    }
}
