//! What a channel takes for its own is the pool's to say.
//~ error[E0277]: the trait bound `Mine: evenkeel_pool::foreign::sealed::Owned` is not satisfied
use evenkeel_pool::{Channel, Owned};

struct Mine;
impl Owned for Mine {}

fn main() {
    let _: fn(&Channel) -> bool = |channel| channel.accepts(&Mine).is_ok();
}
