//! What was given back is read no more.
//~ error[E0382]: borrow of moved value: `buffer`
use evenkeel_pool::Buffer;

fn read(buffer: Buffer) -> usize {
    drop(buffer);
    buffer.len()
}

fn main() {
    let _: fn(Buffer) -> usize = read;
}
