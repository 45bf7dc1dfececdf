//! The channels of the file and of the flags, put together and checked against each other.

use super::place::{Place, Placed, Wrong};
use crate::args::What;
use crate::words::{self, measure};
use evenkeel_recorder::{ChannelConfig, Durability, Framing, OnFull, Restart, Source};

/// A channel as far as it was said.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: Placed<String>,
    pub(super) source: Placed<Source>,
    pub(super) framing: Option<Placed<Framing>>,
    pub(super) durability: Option<Placed<Durability>>,
    pub(super) on_full: Option<Placed<OnFull>>,
    pub(super) quota: Option<Placed<u64>>,
    pub(super) restart: Option<Placed<Restart>>,
}

/// The channels of the file, then those of the flags. What a flag says about a channel wins
/// over what the file says about it.
pub(super) fn join(mut drafts: Vec<Draft>, what: &What) -> Result<Vec<ChannelConfig>, Wrong> {
    for word in &what.channels {
        drafts.push(of_flag(word)?);
    }
    refuse_clashes(&drafts)?;
    overrule(&mut drafts, ("--frame", "FRAMING"), &what.frames, words::parse_framing, |d| &mut d.framing)?;
    overrule(&mut drafts, ("--on-full", "POLICY"), &what.on_full, words::parse_on_full, |d| &mut d.on_full)?;
    overrule(&mut drafts, ("--quota", "BYTES"), &what.quotas, measure::parse_quota, |d| &mut d.quota)?;
    overrule(&mut drafts, ("--restart", "POLICY"), &what.restart, words::parse_restart, |d| &mut d.restart)?;
    drafts.into_iter().map(|draft| finish(draft, what.durability)).collect()
}

/// `NAME=VALUE` of a flag, and its place.
fn pair<'a>((flag, value): (&str, &str), words: &'a str) -> Result<(Place, &'a str, &'a str), Wrong> {
    let place = Place::Flag(format!("{flag} {words}"));
    match words.split_once('=') {
        Some((name, word)) => Ok((place, name, word)),
        None => Err(Wrong::new(place, format!("NAME={value} is needed"))),
    }
}

fn of_flag(words: &str) -> Result<Draft, Wrong> {
    let (place, name, source) = pair(("--channel", "SOURCE"), words)?;
    let wrong = |reason| Wrong::new(place.clone(), reason);
    Ok(Draft {
        name: Placed { value: words::parse_name(name).map_err(wrong)?, place: place.clone() },
        source: Placed { value: words::parse_source(source).map_err(wrong)?, place },
        framing: None,
        durability: None,
        on_full: None,
        quota: None,
        restart: None,
    })
}

/// No two channels have one name, or one source that only one can have.
fn refuse_clashes(drafts: &[Draft]) -> Result<(), Wrong> {
    for (at, later) in drafts.iter().enumerate() {
        for earlier in &drafts[..at] {
            let (name, other) = (&later.name, &earlier.name);
            if name.value == other.value {
                let reason = format!("there is a channel {} already ({})", name.value, other.place);
                return Err(Wrong::new(name.place.clone(), reason));
            }
            if exclude_each_other(&later.source.value, &earlier.source.value) {
                let reason = format!(
                    "cannot be the source of channel {}: it is that of channel {} already ({})",
                    name.value, other.value, earlier.source.place
                );
                return Err(Wrong::new(later.source.place.clone(), reason));
            }
        }
    }
    Ok(())
}

/// Whether only one of two channels could have its source. Addresses that overlap without
/// being the same are found by the system when the second is listened on.
fn exclude_each_other(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (Source::Stdin, Source::Stdin) => true,
        // Where the port is 0 the system chooses one for each.
        (Source::Tcp(one), Source::Tcp(other)) | (Source::Udp(one), Source::Udp(other)) => {
            one == other && one.port() != 0
        }
        (Source::Unix(one), Source::Unix(other)) => {
            match (std::path::absolute(one), std::path::absolute(other)) {
                (Ok(one), Ok(other)) => one == other,
                _ => one == other,
            }
        }
        _ => false,
    }
}

/// Lets the flags of one kind speak, once of each channel.
fn overrule<T>(
    drafts: &mut [Draft],
    flag: (&str, &str),
    said: &[String],
    parse: fn(&str) -> Result<T, String>,
    slot: fn(&mut Draft) -> &mut Option<Placed<T>>,
) -> Result<(), Wrong> {
    let mut spoken_of: Vec<&str> = Vec::new();
    for words in said {
        let (place, name, word) = pair(flag, words)?;
        let Some(draft) = drafts.iter_mut().find(|draft| draft.name.value == name) else {
            return Err(Wrong::new(place, format!("there is no channel {name}")));
        };
        if spoken_of.contains(&name) {
            return Err(Wrong::new(place, format!("{} speaks of {name} already; once is allowed", flag.0)));
        }
        spoken_of.push(name);
        match parse(word) {
            Ok(value) => *slot(draft) = Some(Placed { value, place }),
            Err(reason) => return Err(Wrong::new(place, reason)),
        }
    }
    Ok(())
}

fn finish(draft: Draft, durability: Option<Durability>) -> Result<ChannelConfig, Wrong> {
    let mut channel = ChannelConfig::new(draft.name.value, draft.source.value);
    channel.durability = durability.unwrap_or_default();
    channel.check().map_err(|reason| Wrong::new(draft.source.place, reason))?;
    // Checked after each, so that what does not fit is shown where it stands.
    fit(&mut channel, draft.framing, |channel, framing| channel.framing = framing)?;
    fit(&mut channel, draft.durability, |channel, durability| channel.durability = durability)?;
    fit(&mut channel, draft.on_full, |channel, on_full| channel.on_full = on_full)?;
    fit(&mut channel, draft.quota, |channel, quota| channel.quota = Some(quota))?;
    fit(&mut channel, draft.restart, |channel, restart| channel.restart = restart)?;
    Ok(channel)
}

fn fit<T>(
    channel: &mut ChannelConfig,
    said: Option<Placed<T>>,
    set: fn(&mut ChannelConfig, T),
) -> Result<(), Wrong> {
    let Some(Placed { value, place }) = said else { return Ok(()) };
    set(channel, value);
    channel.check().map_err(|reason| Wrong::new(place, reason))
}
