use super::*;

fn ms(millis: u64) -> Mono {
    Mono::from_nanos(millis * 1_000_000)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn spec(heartbeat: u64, cpu_share_max: Option<u16>) -> WatchSpec {
    WatchSpec { heartbeat: millis(heartbeat), cpu_share_max }
}

/// What a simulated thread does from one moment on.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Beginning; nanoseconds. A busy one begins with a beat.
    from: u64,
    is_busy: bool,
    on_cpu: bool,
}

/// A thread whose whole life is known beforehand.
struct Life {
    spans: Vec<Span>,
    heartbeat: u64,
}

impl Life {
    fn random(random: &mut fastrand::Rng, until: u64) -> Self {
        let heartbeat = random.u64(5_000_000..200_000_000);
        let (mut spans, mut from) = (vec![Span { from: 0, is_busy: false, on_cpu: false }], 0);
        while from < until {
            from += match random.u8(0..10) {
                // Now and then longer than it may be silent.
                0 => random.u64(heartbeat..5 * heartbeat),
                1..6 => random.u64(1..heartbeat),
                _ => random.u64(1..heartbeat / 20),
            };
            spans.push(Span { from, is_busy: random.u8(0..4) > 0, on_cpu: random.bool() });
        }
        Self { spans, heartbeat }
    }

    fn sample(&self, now: u64) -> Sample {
        let current = self.spans.partition_point(|span| span.from <= now) - 1;
        let busy = self.spans[..=current].iter().rev().take_while(|span| span.is_busy).last();
        let beats = self.spans[..=current].iter().filter(|span| span.is_busy);
        let cpu = self.spans[..=current].iter().enumerate().filter(|(_, span)| span.is_busy && span.on_cpu);
        let cpu = cpu.map(|(at, span)| self.end(at).min(now) - span.from).sum();
        Sample {
            busy_since: busy.map(|span| Mono::from_nanos(span.from)),
            last_beat: Mono::from_nanos(beats.clone().next_back().map_or(0, |span| span.from)),
            beats: beats.count() as u64,
            cpu: Some(Duration::from_nanos(cpu)),
        }
    }

    fn end(&self, at: usize) -> u64 {
        self.spans.get(at + 1).map_or(u64::MAX, |span| span.from)
    }

    /// Compares what was told at which time with what it did.
    fn judge(&self, told: &[(u64, FindingKind)], until: u64) -> (usize, usize) {
        let mut told =
            told.iter().filter(|(_, kind)| !matches!(kind, FindingKind::Recovered { .. })).peekable();
        let mut found = [0, 0];
        for (at, span) in self.spans.iter().enumerate().filter(|(_, span)| span.is_busy) {
            let (due, end) = (span.from + self.heartbeat, self.end(at));
            let surely = end > due + 1_000_000 && due + 1_000_000 < until;
            match told.peek() {
                Some((when, kind)) if *when < end => {
                    assert!(
                        (due..=due + 1_000_000).contains(when),
                        "{span:?} is due at {due}, told at {when}"
                    );
                    let is_runaway = matches!(kind, FindingKind::Runaway { is_silent: true, .. });
                    assert_eq!(is_runaway, span.on_cpu, "{span:?}: {kind:?}");
                    found[usize::from(is_runaway)] += 1;
                    told.next();
                }
                _ => assert!(!surely, "{span:?} was silent until {end} and not found"),
            }
        }
        assert_eq!(told.next(), None, "nothing else is told");
        (found[0], found[1])
    }
}

// REQ T6
#[test]
fn each_silence_is_found_a_heartbeat_after_the_last_beat_and_none_falsely() {
    const UNTIL: u64 = 4_000_000_000;
    let (mut stuck, mut runaway) = (0, 0);
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let lives: Vec<Life> = (0..8).map(|_| Life::random(&mut random, UNTIL)).collect();
        let (mut watch, mut found) = (Watch::new(), Vec::new());
        let mut told: Vec<Vec<(u64, FindingKind)>> = vec![Vec::new(); lives.len()];
        for (id, life) in lives.iter().enumerate() {
            let heartbeat = Duration::from_nanos(life.heartbeat);
            watch.watch(ms(0), WatchId(id as u64), WatchSpec { heartbeat, cpu_share_max: None });
        }
        let (mut now, mut looks) = (0, 0_u64);
        while now < UNTIL {
            for (id, life) in lives.iter().enumerate() {
                watch.sample(Mono::from_nanos(now), WatchId(id as u64), life.sample(now), &mut found);
            }
            for finding in found.drain(..) {
                told[finding.id.0 as usize].push((now, finding.kind));
            }
            // The one who looks is late by up to a millisecond.
            let next = watch.next_look(Mono::from_nanos(now)).unwrap().as_nanos();
            assert!(next > now, "what was looked at is not looked at again at once");
            now = next + random.u64(0..1_000_000);
            looks += 1;
        }
        for (life, told) in lives.iter().zip(&told) {
            let (s, r) = life.judge(told, UNTIL);
            (stuck, runaway) = (stuck + s, runaway + r);
            for pair in told.windows(2) {
                let recovered = matches!(pair[1].1, FindingKind::Recovered { was_silent: true, .. });
                let before = matches!(pair[0].1, FindingKind::Recovered { .. });
                assert!(recovered != before, "told once until it recovers: {pair:?}");
            }
        }
        let shortest = lives.iter().map(|life| life.heartbeat).min().unwrap();
        assert!(looks <= 3 * (UNTIL / shortest), "{looks} looks for eight threads");
    }
    assert!(stuck > 500 && runaway > 500, "{stuck} stuck and {runaway} runaway threads were found");
}

// REQ T6
#[test]
fn a_thread_that_beats_and_uses_more_than_its_share_is_told_once_until_it_recovers() {
    let (mut watch, mut out, id) = (Watch::new(), Vec::new(), WatchId(1));
    watch.watch(ms(0), id, spec(100, Some(500)));
    // 60 % of a core until 400 ms, then 10 %; a beat at every look.
    let cpu = |at: u64| millis(at.min(400) * 6 / 10 + at.saturating_sub(400) / 10);
    for at in (0..=800).step_by(50) {
        let sample = Sample { busy_since: Some(ms(0)), last_beat: ms(at), beats: at, cpu: Some(cpu(at)) };
        watch.sample(ms(at), id, sample, &mut out);
    }
    let kinds: Vec<_> = out.iter().map(|finding| finding.kind).collect();
    let runaway = FindingKind::Runaway { over: millis(100), cpu: millis(60), is_silent: false };
    let recovered = FindingKind::Recovered { after: millis(400), was_silent: false };
    assert_eq!(kinds, [runaway, recovered]);
}

// REQ T6
#[test]
fn a_share_is_looked_at_every_heartbeat_while_the_thread_is_busy() {
    let (mut watch, mut out, id) = (Watch::new(), Vec::new(), WatchId(1));
    watch.watch(ms(0), id, spec(100, Some(500)));
    let sample =
        |beat| Sample { busy_since: Some(ms(0)), last_beat: ms(beat), beats: beat, cpu: Some(millis(0)) };
    watch.sample(ms(0), id, sample(0), &mut out);
    watch.sample(ms(90), id, sample(90), &mut out);
    assert_eq!(
        watch.next_look(ms(90)),
        Some(ms(100)),
        "though its silence would be looked at only at 190 ms"
    );
}

// REQ T6
#[test]
fn who_waits_for_work_is_never_stuck_and_a_dead_one_is_told_once() {
    let (mut watch, mut out, id) = (Watch::new(), Vec::new(), WatchId(7));
    assert_eq!(watch.next_look(ms(0)), None);
    watch.watch(ms(0), id, spec(10, None));
    let waiting = Sample { busy_since: None, last_beat: ms(0), beats: 0, cpu: Some(millis(0)) };
    for at in (0..1_000).step_by(10) {
        watch.sample(ms(at), id, waiting, &mut out);
        assert_eq!(watch.next_look(ms(at)), Some(ms(at + 10)), "it may become busy at once");
    }
    assert_eq!(out, []);
    assert_eq!(watch.died(ms(1_000), id), Some(Finding { id, kind: FindingKind::Died }));
    assert_eq!(watch.died(ms(1_000), id), None);
    assert!(!watch.forget(id));
}

// REQ T6
#[test]
fn beats_without_a_time_count_from_when_they_are_seen() {
    let (mut watch, mut out, id) = (Watch::new(), Vec::new(), WatchId(7));
    watch.watch(ms(0), id, spec(10, None));
    let sample = |beats| Sample { busy_since: Some(ms(0)), last_beat: ms(0), beats, cpu: None };
    for at in (0..=90).step_by(9) {
        watch.sample(ms(at), id, sample(at), &mut out);
    }
    assert_eq!(out, [], "it goes on");
    watch.sample(ms(99), id, sample(90), &mut out);
    watch.sample(ms(100), id, sample(90), &mut out);
    assert_eq!(out[0].kind, FindingKind::Stuck { silent_for: millis(10), cpu: None });
}

// REQ T6
#[test]
fn who_was_held_up_together_with_the_watch_is_not_called_stuck() {
    let (id, beat) = (WatchId(1), 5_000);
    let (mut watch, mut found) = (Watch::new(), Vec::new());
    watch.watch(ms(0), id, spec(beat, None));
    let silent = Sample { busy_since: Some(ms(0)), last_beat: ms(0), beats: 0, cpu: None };
    watch.sample(ms(0), id, silent, &mut found);
    assert_eq!(watch.next_look(ms(0)), Some(ms(beat)));
    // The process was stopped for a minute.
    watch.woke_late(ms(65_000), millis(60_000));
    watch.sample(ms(65_000), id, silent, &mut found);
    assert_eq!((found.len(), watch.next_look(ms(65_000))), (0, Some(ms(70_000))));
    // A little late is nothing; and what is told stays told.
    for (now, late) in [(70_200, 200), (140_000, 60_000)] {
        watch.woke_late(ms(now), millis(late));
        watch.sample(ms(now), id, silent, &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
    }
    assert_eq!(found[0].kind, FindingKind::Stuck { silent_for: millis(5_200), cpu: None });
}
