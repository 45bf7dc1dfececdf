//! The books against a naive model: slots, bytes and counted units, under limits that change.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_pool::{Account, Buffer, Channel, Counted, Limits, Pool, Refused, Short, Tier, Usage, Used};
use fastrand::Rng;

const SIZES: [u64; 2] = [4096, 16_384];
/// In a model's lists: the tiers, then bytes in pages, then units.
const PAGES: usize = 2;
const UNITS: usize = 3;
const PARTS: usize = 4;

/// What a channel may have and has, told naively.
#[derive(Clone, Copy, Debug, Default)]
struct Books {
    reserve: [u64; PARTS],
    max: [u64; PARTS],
    held: [u64; PARTS],
}

impl Books {
    fn borrowed(&self, part: usize) -> u64 {
        self.held[part].saturating_sub(self.reserve[part])
    }
}

/// A pool, told naively: a list of what each has.
#[derive(Debug)]
struct Model {
    all: [u64; PARTS],
    share: Option<u64>,
    channels: Vec<Books>,
    bytes_max: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    Component,
    Max(usize),
    Lent(usize),
}

impl Model {
    fn free(&self, part: usize) -> i64 {
        let used = |books: &Books| books.reserve[part] + books.borrowed(part);
        self.all[part].cast_signed() - self.channels.iter().map(used).sum::<u64>().cast_signed()
    }

    fn admits(&self, who: usize, part: usize, units: u64) -> Result<(), Why> {
        let books = &self.channels[who];
        let after = Books { held: books.held.map(|held| held + units), ..*books };
        let borrow = after.borrowed(part) - books.borrowed(part);
        let free = self.free(part) - borrow.cast_signed();
        let share = self.share.filter(|_| part == PAGES).map(u64::cast_signed);
        let is_too_large = share.is_some_and(|share| after.borrowed(part).cast_signed() > free * share);
        if after.held[part] > books.max[part] {
            Err(Why::Max(part))
        } else if borrow > 0 && (free < 0 || is_too_large) {
            Err(Why::Lent(part))
        } else {
            Ok(())
        }
    }

    fn take(&mut self, who: usize, tier: usize, is_beyond: bool) -> Result<(), Why> {
        let pages = SIZES[tier] / 4096;
        if !is_beyond {
            if self.channels[who].held[PAGES] * 4096 + SIZES[tier] > self.bytes_max[who] {
                return Err(Why::Component);
            }
            self.admits(who, PAGES, pages)?;
        }
        self.admits(who, tier, 1)?;
        self.channels[who].held[tier] += 1;
        self.channels[who].held[PAGES] += pages;
        Ok(())
    }

    fn give(&mut self, who: usize, tier: usize) {
        self.channels[who].held[tier] -= 1;
        self.channels[who].held[PAGES] -= SIZES[tier] / 4096;
    }

    /// Whether a channel can have such a reserve.
    fn has(&self, who: usize, reserve: &[u64; PARTS]) -> bool {
        let (before, mut after) = (self.channels[who], self.channels[who]);
        after.reserve = *reserve;
        let cost = |part: usize| {
            (reserve[part] + after.borrowed(part)).cast_signed()
                - (before.reserve[part] + before.borrowed(part)).cast_signed()
        };
        (0..PARTS).all(|part| {
            reserve[part] <= before.reserve[part] || cost(part) <= 0 || cost(part) <= self.free(part)
        })
    }
}

fn why(short: Short) -> Why {
    match short {
        Short::Component { .. } => Why::Component,
        Short::Channel { .. } => Why::Max(0),
        Short::Lent { .. } => Why::Lent(0),
        Short::ChannelBytes { .. } => Why::Max(PAGES),
        Short::PoolBytes { .. } => Why::Lent(PAGES),
        Short::ChannelUnits { .. } => Why::Max(UNITS),
        Short::LentUnits { .. } => Why::Lent(UNITS),
        other => panic!("{other:?}"),
    }
}

/// Of a tier, whichever.
fn alike(why: Why) -> Why {
    match why {
        Why::Max(1) => Why::Max(0),
        Why::Lent(1) => Why::Lent(0),
        other => other,
    }
}

struct World {
    pool: Pool,
    model: Model,
    channels: Vec<(Channel, Account)>,
    buffers: Vec<Vec<(usize, Buffer)>>,
    units: Vec<Vec<Counted>>,
    rng: Rng,
    /// Numbers of accounts are used up.
    taken_in: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let slots = [rng.u32(2..30), rng.u32(1..10)];
        let all_pages = u64::from(slots[0]) + 4 * u64::from(slots[1]);
        let pages = if rng.bool() { all_pages } else { rng.u64(1..=all_pages) };
        let share = rng.bool().then(|| rng.u32(1..6));
        let units = rng.u32(1..12);
        let tier = |at: usize| Tier { bytes: SIZES[at] as usize, slots: slots[at] };
        let mut builder = Pool::builder().tiers([tier(0), tier(1)]).counted("units", units);
        builder = builder.bytes_max(pages * 4096 - rng.u64(..4096)).resident_max(pages * 4096);
        if let Some(share) = share {
            builder = builder.borrow_share(share);
        }
        let all = [u64::from(slots[0]), u64::from(slots[1]), pages, u64::from(units)];
        let model = Model { all, share: share.map(u64::from), channels: Vec::new(), bytes_max: Vec::new() };
        let mut world = Self {
            pool: builder.build().unwrap(),
            model,
            channels: Vec::new(),
            buffers: Vec::new(),
            units: Vec::new(),
            rng,
            taken_in: 0,
        };
        for _ in 0..world.rng.usize(1..5) {
            world.take_in();
        }
        world
    }

    /// Limits for the pool, and as the model knows them.
    fn limits(&mut self) -> (Limits, [u64; PARTS], [u64; PARTS]) {
        let most = self.model.all;
        let (rng, all) = (&mut self.rng, most);
        let mut reserve = [0; PARTS];
        let mut max = [0; PARTS];
        for part in 0..PARTS {
            reserve[part] = if rng.bool() { 0 } else { rng.u64(..=all[part] / 2) };
            max[part] = reserve[part] + rng.u64(..=all[part]);
        }
        reserve[PAGES] = reserve[PAGES].max(reserve[0] + 4 * reserve[1]);
        max[PAGES] = max[PAGES].max(reserve[PAGES]);
        let slots = |of: &[u64; PARTS]| of[..2].iter().map(|slots| *slots as u32).collect();
        let limits = Limits {
            reserve: slots(&reserve),
            max: slots(&max),
            bytes_reserve: reserve[PAGES] * 4096,
            bytes_max: Some(max[PAGES] * 4096),
            counted: vec![("units".to_owned(), reserve[UNITS] as u32, max[UNITS] as u32)],
        };
        (limits, reserve, max)
    }

    fn take_in(&mut self) {
        let (limits, reserve, max) = self.limits();
        let who = self.channels.len();
        let name = format!("c{who}");
        self.model.channels.push(Books::default());
        let has = self.model.has(who, &reserve);
        let taken = self.pool.channel(&name, &limits);
        assert_eq!(taken.is_ok(), has, "{:?} {:?}", taken.err(), self.model);
        let channel = match taken {
            Ok(channel) => {
                self.model.channels[who] = Books { reserve, max, held: [0; PARTS] };
                channel
            }
            Err(Refused::Reserve { .. }) => {
                self.model.channels[who].max = [0; PARTS];
                let max = self.model.all.map(|_| 0);
                let none = Limits {
                    max: vec![0, 0],
                    bytes_max: Some(0),
                    counted: vec![("units".to_owned(), 0, 0)],
                    ..Limits::default()
                };
                self.model.channels[who].max = max;
                self.pool.channel(&name, &none).unwrap()
            }
            Err(refused) => panic!("{refused}"),
        };
        let again = self.pool.channel(&name, &limits).unwrap_err();
        assert_eq!(again, Refused::Name { channel: name });
        let bytes_max = if self.rng.bool() { 1 << 40 } else { self.rng.u64(..200_000) };
        self.model.bytes_max.push(bytes_max);
        let account = channel.component("all", bytes_max).unwrap();
        self.taken_in += 1;
        self.channels.push((channel, account));
        self.buffers.push(Vec::new());
        self.units.push(Vec::new());
    }

    fn step(&mut self) {
        let who = self.rng.usize(..self.channels.len());
        match self.rng.u32(..100) {
            0..45 => self.take(who),
            45..48 => self.take_beyond(who),
            48..78 => self.give(who),
            78..86 => self.count(who),
            86..92 => drop(self.units[who].pop().inspect(|_| self.model.channels[who].held[UNITS] -= 1)),
            92..95 => self.set_limits(who),
            95 => self.close(who),
            96 => self.set_bytes_max(who),
            97 => _ = self.channels[who].1.prefault(SIZES[self.rng.usize(..2)] as usize, 3),
            _ => self.looks(),
        }
    }

    fn take(&mut self, who: usize) {
        let tier = self.rng.usize(..2);
        if self.model.share.is_some() {
            // What lies in a magazine was borrowed while more was free.
            self.pool.shrink().unwrap();
        }
        let (said, expected) =
            (self.channels[who].1.take(SIZES[tier] as usize), self.model.take(who, tier, false));
        match said {
            Ok(buffer) => {
                assert_eq!(expected, Ok(()));
                self.buffers[who].push((tier, buffer));
            }
            Err(refused) => {
                let expected = expected.expect_err("the model has one");
                assert_eq!(why(refused.short()), alike(expected), "{refused} {:?}", self.model);
            }
        }
    }

    fn take_beyond(&mut self, who: usize) {
        let first = self.rng.usize(..2);
        let expected = (first..2).find(|tier| self.model.take(who, *tier, true).is_ok());
        let taken = self.channels[who].1.take_beyond(SIZES[first] as usize);
        match (taken, expected) {
            (Ok(buffer), Some(tier)) => {
                assert_eq!(buffer.capacity() as u64, SIZES[tier]);
                self.buffers[who].push((tier, buffer));
            }
            (Err(_), None) => {}
            (taken, expected) => panic!("{taken:?}, not {expected:?}: {:?}", self.model),
        }
    }

    fn give(&mut self, who: usize) {
        let held = self.buffers[who].len();
        if held == 0 {
            return;
        }
        let (tier, buffer) = self.buffers[who].swap_remove(self.rng.usize(..held));
        self.model.give(who, tier);
        if self.rng.u32(..8) == 0 {
            // From another thread, whose magazine it lies in then.
            std::thread::scope(|scope| scope.spawn(move || drop(buffer)).join().unwrap());
        }
    }

    fn count(&mut self, who: usize) {
        let expected = self.model.admits(who, UNITS, 1);
        match self.channels[who].1.count("units", 1) {
            Ok(unit) => {
                assert_eq!(expected, Ok(()));
                self.model.channels[who].held[UNITS] += 1;
                self.units[who].push(unit);
            }
            Err(refused) => assert_eq!(Err(why(refused.short())), expected, "{refused}"),
        }
    }

    fn set_limits(&mut self, who: usize) {
        let (limits, reserve, max) = self.limits();
        let has = self.model.has(who, &reserve);
        let set = self.channels[who].0.set_limits(&limits);
        assert_eq!(set.is_ok(), has, "{set:?} {limits:?} {:?}", self.model);
        if has {
            let books = &mut self.model.channels[who];
            (books.reserve, books.max) = (reserve, max);
        }
    }

    fn set_bytes_max(&mut self, who: usize) {
        let bytes_max = self.rng.u64(..200_000);
        let (channel, account) = &self.channels[who];
        if self.rng.bool() {
            self.model.bytes_max[who] = bytes_max;
            channel.set_component_bytes_max(account, bytes_max).unwrap();
        } else {
            // Whoever is limited never raises its own limit.
            self.model.bytes_max[who] = bytes_max.min(self.model.bytes_max[who]);
            account.lower_bytes_max(bytes_max);
        }
        assert_eq!(account.bytes_max(), self.model.bytes_max[who]);
    }

    fn close(&mut self, who: usize) {
        let holds = self.model.channels[who].held != [0; PARTS];
        let closed = self.channels[who].0.close();
        assert_eq!(closed.is_err(), holds, "{closed:?}");
        if holds || who + 1 != self.channels.len() {
            // Others keep their places: it is as good as gone.
            if !holds {
                self.model.channels[who].reserve = [0; PARTS];
                self.model.channels[who].max = [0; PARTS];
                assert_eq!(self.channels[who].1.take(1).unwrap_err().short(), Short::Closed);
                self.reenter(who);
            }
            return;
        }
        self.channels.pop();
        self.model.channels.pop();
        self.model.bytes_max.pop();
        self.buffers.pop();
        self.units.pop();
        self.take_in();
    }

    /// A closed channel comes back under its name, with nothing of its own.
    fn reenter(&mut self, who: usize) {
        let channel = self.pool.channel(&format!("c{who}"), &Limits::default()).unwrap();
        self.model.channels[who].max = self.model.all;
        let account = channel.component("all", self.model.bytes_max[who]).unwrap();
        self.taken_in += 1;
        self.channels[who] = (channel, account);
    }

    /// All magazines are emptied, and every figure is the model's.
    fn looks(&mut self) {
        self.pool.shrink().unwrap();
        assert_eq!(self.pool.warm_bytes(), self.held_bytes());
        for ((channel, _), books) in self.channels.iter().zip(&self.model.channels) {
            let Usage { tiers, bytes, counted, .. } = channel.usage();
            let all = [tiers[0], tiers[1], bytes, counted[0].1];
            for (part, used) in all.iter().enumerate() {
                let unit = if part == PAGES { 4096 } else { 1 };
                let borrowed = books.borrowed(part);
                let (own, reserve, max) = (books.held[part] - borrowed, books.reserve[part], books.max[part]);
                let [own, borrowed, reserve, max] = [own, borrowed, reserve, max].map(|n| n * unit);
                assert_eq!(*used, Used { own, borrowed, reserve, max }, "{part}");
            }
        }
    }

    fn held_bytes(&self) -> u64 {
        self.model.channels.iter().map(|books| books.held[PAGES] * 4096).sum()
    }

    fn ends(mut self) {
        self.buffers.iter_mut().for_each(Vec::clear);
        self.units.iter_mut().for_each(Vec::clear);
        self.channels.drain(..).for_each(|(channel, _)| channel.close().unwrap());
        // Nothing is lost: one channel can have all of it for itself.
        let [small, large, pages, units] = self.model.all;
        let limits =
            Limits { counted: vec![("units".to_owned(), units as u32, units as u32)], ..Limits::default() };
        let limits = Limits { bytes_reserve: pages * 4096, ..limits };
        let all = self.pool.channel("all", &limits).unwrap();
        let reserves = Limits { reserve: vec![small as u32, large as u32], ..limits };
        assert_eq!(all.set_limits(&reserves).is_ok(), small + 4 * large == pages);
    }
}

// REQ R3, REQ R4: whatever is taken, given back, changed and let go, each answer and each figure is the naive model's.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn the_books_are_what_the_naive_model_says() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        while world.taken_in < 200 && world.rng.u32(..400) > 0 {
            world.step();
        }
        world.looks();
        world.ends();
    }
}
