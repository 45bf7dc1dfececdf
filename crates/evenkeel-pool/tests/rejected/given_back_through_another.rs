//! No account or channel takes a buffer back: not its own, and not another's.
//~ error[E0599]: no method named `give` found for reference `&Account`
//~ error[E0599]: no method named `give` found for reference `&evenkeel_pool::Channel`
use evenkeel_pool::{Account, Buffer, Channel};

fn give(other: &Account, channel: &Channel, one: Buffer, two: Buffer) {
    other.give(one);
    channel.give(two);
}

fn main() {
    let _: fn(&Account, &Channel, Buffer, Buffer) = give;
}
