//! How a run comes to its end: when to signal its group, and when it is over. A
//! decision as a plain value.
//!
//! ```text
//! the leader exited and its output ended --> look for others of its group
//!                                              none --> finished
//!                                              some --> 1 s, SIGTERM, 1 s, SIGKILL, 200 ms --> finished
//! a stop --> SIGTERM at once, SIGKILL at its time
//!        --> 200 ms after SIGKILL, or after nobody of the group lived any more, and
//!            the output has not ended: it is cut off
//! ```
//!
//! Times are monotonic nanoseconds. What [`Ending::next`] answers is due at the
//! time beside it, and has to be noted when it is done: then it is not answered
//! again.

/// Others of the group have so long to end by themselves once the run itself is over, and so long after SIGTERM.
const LINGER_NS: u64 = 1_000_000_000;
/// What is not over so long after SIGKILL will not be.
const KILLED_NS: u64 = 200_000_000;
/// Whoever was asked to end by somebody else may have been asked by who is stopping us too: a service
/// manager that signals a whole control group. For so long it is not known.
const DOUBT_NS: u64 = 500_000_000;
/// Others of the group are looked for again after this, then after twice as long, ...
const LOOK_MIN_NS: u64 = 1_000_000;
/// ... up to this.
const LOOK_MAX_NS: u64 = 50_000_000;

/// What is to be done about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// SIGTERM to the group, and SIGCONT so that those who were stopped hear it.
    Terminate,
    /// SIGKILL to the group.
    Kill,
    /// See whether somebody of the group still lives.
    Look,
    /// Say that the output will not end by itself.
    CutOff,
    /// It is over: reap the leader.
    Finish,
}

/// What is known of a run's end.
#[derive(Debug, Default)]
pub(super) struct Ending {
    exited_ns: Option<u64>,
    /// Somebody else asked it to end.
    was_asked: bool,
    output_ended_ns: Option<u64>,
    /// When SIGKILL is due, once there is a stop.
    stop_kill_ns: Option<u64>,
    terminated_ns: Option<u64>,
    killed_ns: Option<u64>,
    /// When others are looked for next, and after what pause again.
    look_ns: u64,
    look_pause_ns: u64,
    /// Since when nobody but the leader is left, who has exited.
    alone_ns: Option<u64>,
    was_cut_off: bool,
    ended_by_stop: bool,
}

impl Ending {
    /// The leader exited; `was_asked`: because somebody else than us asked it to.
    pub(super) fn exited(&mut self, now_ns: u64, was_asked: bool) {
        self.was_asked |= was_asked && self.exited_ns.is_none();
        self.exited_ns.get_or_insert(now_ns);
        self.note_stop();
    }

    /// All of its output was handed over.
    pub(super) fn output_ended(&mut self, now_ns: u64) {
        self.output_ended_ns.get_or_insert(now_ns);
        self.note_stop();
    }

    /// A stop, with SIGKILL at `kill_ns`; an earlier time than before counts.
    pub(super) fn stop(&mut self, kill_ns: u64) {
        let before = self.stop_kill_ns.unwrap_or(u64::MAX);
        self.stop_kill_ns = Some(kill_ns.min(before));
    }

    /// An act was done. Of [`Act::Look`]: nobody was found if `alone`.
    pub(super) fn done(&mut self, act: Act, alone: bool, now_ns: u64) {
        match act {
            Act::Terminate => self.terminated_ns = Some(now_ns),
            Act::Kill => self.killed_ns = Some(now_ns),
            Act::Look => {
                self.look_pause_ns = (self.look_pause_ns * 2).clamp(LOOK_MIN_NS, LOOK_MAX_NS);
                self.look_ns = now_ns.saturating_add(self.look_pause_ns);
                if alone {
                    self.alone_ns.get_or_insert(now_ns);
                }
            }
            Act::CutOff => self.was_cut_off = true,
            Act::Finish => {}
        }
    }

    /// Whether the leader has exited.
    pub(super) fn has_exited(&self) -> bool {
        self.exited_ns.is_some()
    }

    /// Whether the stop came before it had ended, or who asked for the stop ended it.
    pub(super) fn ended_by_stop(&self) -> bool {
        self.ended_by_stop || self.is_explained()
    }

    /// Whether it was ended by who asked for the stop.
    pub(super) fn is_explained(&self) -> bool {
        self.was_asked && self.stop_kill_ns.is_some()
    }

    /// The last signal that its group was sent.
    pub(super) fn signalled(&self) -> Option<&'static str> {
        match (self.terminated_ns, self.killed_ns) {
            (_, Some(_)) => Some("SIGKILL"),
            (Some(_), None) => Some("SIGTERM"),
            (None, None) => None,
        }
    }

    /// What is to be done next, and from when on; `None` while only news from outside matters.
    pub(super) fn next(&self) -> Option<(u64, Act)> {
        // Of what is due at the same time the first counts.
        [self.signal(), self.look(), self.cut_off(), self.finish()]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// When all that the run is had ended.
    fn ended_ns(&self) -> Option<u64> {
        Some(self.exited_ns?.max(self.output_ended_ns?))
    }

    fn note_stop(&mut self) {
        self.ended_by_stop |= self.ended_ns().is_some() && self.stop_kill_ns.is_some();
    }

    fn signal(&self) -> Option<(u64, Act)> {
        if self.killed_ns.is_some() {
            return None;
        }
        let by_stop = self.stop_kill_ns.map(|kill_ns| match self.terminated_ns {
            None => (0, Act::Terminate),
            Some(_) => (kill_ns, Act::Kill),
        });
        let by_end =
            self.ended_ns().filter(|_| self.alone_ns.is_none()).map(|ended_ns| match self.terminated_ns {
                None => (ended_ns.saturating_add(LINGER_NS), Act::Terminate),
                Some(told_ns) => (ended_ns.max(told_ns).saturating_add(LINGER_NS), Act::Kill),
            });
        by_stop.into_iter().chain(by_end).min_by_key(|(at, _)| *at)
    }

    fn look(&self) -> Option<(u64, Act)> {
        let matters = self.has_exited() && (self.output_ended_ns.is_some() || self.stop_kill_ns.is_some());
        (matters && self.alone_ns.is_none()).then_some((self.look_ns, Act::Look))
    }

    fn cut_off(&self) -> Option<(u64, Act)> {
        if self.output_ended_ns.is_some() || self.was_cut_off {
            return None;
        }
        // Alone without a stop: somebody outside the group goes on with the output, as they may.
        let alone_ns = self.alone_ns.filter(|_| self.stop_kill_ns.is_some());
        let since = self.killed_ns.into_iter().chain(alone_ns).min()?;
        Some((since.saturating_add(KILLED_NS), Act::CutOff))
    }

    fn finish(&self) -> Option<(u64, Act)> {
        let ended_ns = self.ended_ns()?;
        if self.alone_ns.is_some() {
            let is_open = self.was_asked && self.stop_kill_ns.is_none();
            return Some((if is_open { ended_ns.saturating_add(DOUBT_NS) } else { 0 }, Act::Finish));
        }
        // Whoever is still there cannot be killed.
        self.killed_ns.map(|killed_ns| (ended_ns.max(killed_ns).saturating_add(KILLED_NS), Act::Finish))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A group and its output, in virtual time.
    #[derive(Clone, Copy, Default)]
    struct World {
        /// When the leader exits, if nothing makes it.
        exits_ms: Option<u64>,
        /// The leader exits at SIGTERM.
        leader_hears: bool,
        /// Another of the group lives until then; SIGTERM ends it if it hears.
        other_until_ms: u64,
        other_hears: bool,
        /// Somebody outside the group holds the output until then.
        held_until_ms: u64,
        stop_ms: Option<u64>,
        kill_ms: u64,
    }

    /// What was done and when, looks left out.
    fn play(world: World) -> (Vec<(u64, Act)>, Ending) {
        let World { mut exits_ms, mut other_until_ms, mut held_until_ms, .. } = world;
        let (mut ending, mut told) = (Ending::default(), Vec::new());
        for now_ms in 0..100_000 {
            let now = now_ms * MS;
            if world.stop_ms == Some(now_ms) {
                ending.stop(world.kill_ms * MS);
            }
            let exited = exits_ms.is_some_and(|at| at <= now_ms);
            if exited {
                ending.exited(now, false);
            }
            if exited && other_until_ms <= now_ms && held_until_ms <= now_ms {
                ending.output_ended(now);
            }
            while let Some((at, act)) = ending.next()
                && at <= now
            {
                let alone = exited && other_until_ms <= now_ms;
                ending.done(act, alone, now);
                let killed = act == Act::Kill;
                if killed || act == Act::Terminate && world.leader_hears {
                    exits_ms = exits_ms.min(Some(now_ms + 1)).or(Some(now_ms + 1));
                }
                if killed || act == Act::Terminate && world.other_hears {
                    other_until_ms = other_until_ms.min(now_ms + 1);
                }
                match act {
                    Act::Look => continue,
                    // The reader reads what is there, and ends.
                    Act::CutOff => held_until_ms = 0,
                    _ => {}
                }
                if act == Act::CutOff {
                    ending.output_ended(now);
                }
                told.push((now_ms, act));
                if act == Act::Finish {
                    return (told, ending);
                }
            }
        }
        (told, ending)
    }

    // REQ W1
    #[test]
    fn what_ends_by_itself_is_finished_at_once_and_never_signalled() {
        let (told, ending) = play(World { exits_ms: Some(70), ..World::default() });
        assert_eq!(told, [(70, Act::Finish)]);
        assert!(!ending.ended_by_stop() && ending.signalled().is_none());
        // The output goes on as long as somebody has it.
        let (told, _) = play(World { exits_ms: Some(70), held_until_ms: 90_000, ..World::default() });
        assert_eq!(told, [(90_000, Act::Finish)]);
        // A leader that lives on is waited for.
        let mut ending = Ending::default();
        ending.output_ended(5);
        assert_eq!(ending.next(), None);
    }

    // REQ E1, REQ W2
    #[test]
    fn who_was_asked_to_end_is_no_failure_if_a_stop_follows_at_once() {
        let ended = |stop_ms: Option<u64>| {
            let mut ending = Ending::default();
            ending.exited(10 * MS, true);
            ending.output_ended(10 * MS);
            ending.done(Act::Look, true, 10 * MS);
            if let Some(at) = stop_ms {
                assert!(ending.next().unwrap().0 > at * MS, "it is not decided yet");
                ending.stop(u64::MAX);
            }
            (ending.next(), ending.is_explained(), ending.ended_by_stop())
        };
        assert_eq!(ended(None), (Some((510 * MS, Act::Finish)), false, false));
        let (_, explained, by_stop) = ended(Some(400));
        assert!(explained && by_stop);
    }

    // REQ T8
    #[test]
    fn who_is_left_of_a_group_has_a_while_to_end_then_sigterm_then_sigkill() {
        let left = |other_until_ms, other_hears| {
            let mut ending = Ending::default();
            let mut told = Vec::new();
            let mut other_until_ms: u64 = other_until_ms;
            ending.exited(0, false);
            ending.output_ended(0);
            for now_ms in 0..10_000 {
                while let Some((at, act)) = ending.next()
                    && at <= now_ms * MS
                {
                    ending.done(act, other_until_ms <= now_ms, now_ms * MS);
                    if act == Act::Terminate && other_hears {
                        other_until_ms = now_ms;
                    }
                    if act != Act::Look {
                        told.push((now_ms, act));
                    }
                    if act == Act::Finish {
                        return told;
                    }
                }
            }
            told
        };
        assert_eq!(left(3, false), [(3, Act::Finish)]);
        let told = left(u64::MAX, true);
        assert_eq!((told[0], told.len()), ((1000, Act::Terminate), 2), "{told:?}");
        // Nobody can kill it: it is left.
        let told = left(u64::MAX, false);
        assert_eq!(told, [(1000, Act::Terminate), (2000, Act::Kill), (2200, Act::Finish)]);
    }

    // REQ W2, REQ T8
    #[test]
    fn a_stop_asks_then_forces_at_its_time() {
        let hears = World { leader_hears: true, stop_ms: Some(100), kill_ms: 5100, ..World::default() };
        let (told, ending) = play(hears);
        assert_eq!(told, [(100, Act::Terminate), (101, Act::Finish)]);
        assert!(ending.ended_by_stop());
        let deaf = World { stop_ms: Some(100), kill_ms: 5100, ..World::default() };
        let (told, ending) = play(deaf);
        assert_eq!(told, [(100, Act::Terminate), (5100, Act::Kill), (5101, Act::Finish)]);
        assert_eq!(ending.signalled(), Some("SIGKILL"));
        // The leader is gone, and another of the group is deaf and has the output.
        let other = World {
            other_until_ms: 90_000,
            leader_hears: true,
            stop_ms: Some(0),
            kill_ms: 5000,
            ..World::default()
        };
        let (told, _) = play(other);
        assert_eq!(told[..2], [(0, Act::Terminate), (5000, Act::Kill)]);
        assert!(matches!(told[2], (5001..5060, Act::Finish)), "{told:?}");
    }

    // REQ W2
    #[test]
    fn output_that_others_hold_is_cut_off_once_nobody_of_the_group_can_end_it() {
        let held = World {
            leader_hears: true,
            held_until_ms: 90_000,
            stop_ms: Some(0),
            kill_ms: 5000,
            ..World::default()
        };
        let (told, ending) = play(held);
        assert_eq!(told, [(0, Act::Terminate), (201, Act::CutOff), (201, Act::Finish)]);
        assert!(ending.ended_by_stop());
        // Had it not exited, SIGKILL came first.
        let deaf = World { held_until_ms: 90_000, stop_ms: Some(0), kill_ms: 5000, ..World::default() };
        let (told, _) = play(deaf);
        assert_eq!(told[1..], [(5000, Act::Kill), (5200, Act::CutOff), (5200, Act::Finish)]);
    }

    // REQ W2
    #[test]
    fn a_stop_after_the_end_did_not_end_it_and_an_earlier_kill_counts() {
        let mut ending = Ending::default();
        ending.exited(1, false);
        ending.output_ended(2);
        ending.stop(10);
        assert!(!ending.ended_by_stop());
        let mut ending = Ending::default();
        ending.stop(500);
        ending.stop(100);
        ending.stop(300);
        assert_eq!(ending.next(), Some((0, Act::Terminate)));
        ending.done(Act::Terminate, false, 5);
        assert_eq!(ending.next(), Some((100, Act::Kill)));
        // What cannot be killed is not over, but its output is cut off.
        ending.done(Act::Kill, false, 100);
        assert_eq!(ending.next(), Some((100 + KILLED_NS, Act::CutOff)));
        ending.done(Act::CutOff, false, 1_000_000_000);
        ending.output_ended(1_000_000_000);
        assert_eq!(ending.next(), None);
    }
}
