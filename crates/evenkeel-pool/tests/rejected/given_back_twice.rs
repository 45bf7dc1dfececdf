//! A buffer is given back once.
//~ error[E0382]: use of moved value: `buffer`
use evenkeel_pool::Buffer;

fn give_back(buffer: Buffer) {
    drop(buffer);
    drop(buffer);
}

fn main() {
    let _: fn(Buffer) = give_back;
}
