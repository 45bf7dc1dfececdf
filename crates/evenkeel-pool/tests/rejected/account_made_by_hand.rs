//! An account of a channel is had from that channel, and not made.
//~ error[E0451]: fields `root`, `number` and `channel` of struct `Account` are private
use evenkeel_pool::Account;

fn forge(own: &Account) -> Account {
    Account { channel: 0, ..own.clone() }
}

fn main() {
    let _: fn(&Account) -> Account = forge;
}
