//! The words of `evenkeel journal`.

use clap::{ArgGroup, Args, Subcommand};
use evenkeel::journal::VerifyingKey;
use std::path::PathBuf;
use std::time::SystemTime;

/// Print the entries of a recording's journal, or what it tells as a whole.
///
/// A recording directory that is named like one of the commands is reached as ./NAME.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Journal {
    #[command(subcommand)]
    pub(crate) command: Option<JournalCommand>,
    /// The recording directory
    #[arg(required = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Print each entry as it stands in the journal, one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Only entries since then: RFC 3339, such as 2026-11-21T09:30:00Z, or so long ago, such as 10m
    #[arg(long, value_name = "T", value_parser = crate::journal::since)]
    pub(crate) since: Option<SystemTime>,
    /// Only entries about this channel
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// Only entries of this kind, such as step-intent
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// List incidents, or tell one of them entry by entry
    Timeline(Timeline),
    /// Print figures over the whole journal: repairs, faults, slow steps, states, runs
    Stats(Stats),
    /// Check the journal: every checksum, the chain, signed checkpoints
    Verify(VerifyJournal),
    /// Write one incident down as a page or as JSON, or print the newest signed checkpoint
    Export(ExportIncident),
    /// Ask an index of the journal, made for the one question, in SQL
    Sql(Sql),
}

#[derive(Debug, Args)]
pub(crate) struct Timeline {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// Tell this incident entry by entry, such as I-00042
    #[arg(long, value_name = "ID", value_parser = crate::journal::incident_id)]
    pub(crate) incident: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Only incidents that were not over then: RFC 3339, or so long ago, such as 10m
    #[arg(long, value_name = "T", value_parser = crate::journal::since)]
    pub(crate) since: Option<SystemTime>,
    /// Only incidents that began in this channel or were felt there
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check the journal: every checksum, the chain, signed checkpoints.
///
/// Exit codes: 0 intact, 1 loss or damage, 3 unreadable, 6 intact but not sealed.
#[derive(Debug, Args)]
pub(crate) struct VerifyJournal {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Signed checkpoints that were kept elsewhere, as `journal export --checkpoint` prints them
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) against: Option<PathBuf>,
    /// The public key that must have signed them and those in the journal, 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Option<VerifyingKey>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("form").required(true).args(["html", "json", "checkpoint"])))]
pub(crate) struct ExportIncident {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// The incident, such as I-00042; without it, the latest
    #[arg(long, value_name = "ID", value_parser = crate::journal::incident_id)]
    pub(crate) incident: Option<u64>,
    /// Write a page for people to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the newest signed checkpoint of the journal
    #[arg(long, conflicts_with_all = ["incident", "public"])]
    pub(crate) checkpoint: bool,
    /// Leave out all that is private: causes, output, commands, reasons
    #[arg(long)]
    pub(crate) public: bool,
}

/// Ask an index of the journal, made for the one question, in SQL.
///
/// The index is in memory, and nothing but reading it is allowed.
#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// One SELECT, such as "SELECT code, count(*) FROM faults GROUP BY code"
    #[arg(required_unless_present = "schema", conflicts_with = "schema")]
    pub(crate) query: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the tables and their columns
    #[arg(long)]
    pub(crate) schema: bool,
    /// Rows that are printed at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rows: u32,
}
