//! `evenkeel export`.

use crate::args::Export;
use crate::{exit, text};
use evenkeel_log::storage::DirStorage;
use evenkeel_log::{Selection, channel_names, export};
use std::io::{self, BufWriter};

pub(crate) fn run(arguments: &Export) -> u8 {
    let selection = Selection {
        channel: arguments.channel.clone(),
        stream: arguments.stream,
        segment: arguments.segment.clone(),
    };
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let exported = DirStorage::open(&arguments.dir)
        .and_then(|storage| Ok((export(&storage, &selection, &mut out)?, storage)));
    match exported {
        Ok((exported, storage)) if !exported.known => {
            let names = channel_names(&storage).unwrap_or_default().join(", ");
            text::complain(&format!("there is no channel {}; there are: {names}", arguments.channel));
            if exported.damaged { exit::NOT_CLEAN } else { exit::USAGE }
        }
        Ok((exported, _)) if exported.damaged => {
            text::complain("damage was met; what is damaged was left out");
            exit::NOT_CLEAN
        }
        Ok((exported, _)) if exported.gaps > 0 => exit::DECLARED,
        Ok(_) => exit::OK,
        // Whoever reads has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.display()));
            exit::CANNOT
        }
    }
}
