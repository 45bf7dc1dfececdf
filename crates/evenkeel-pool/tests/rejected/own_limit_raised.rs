//! What a component may hold is its channel's to say, not its own.
//~ error[E0599]: no method named `set_bytes_max` found for reference `&Account`
use evenkeel_pool::Account;

fn main() {
    let _: fn(&Account) = |account| account.set_bytes_max(u64::MAX);
}
