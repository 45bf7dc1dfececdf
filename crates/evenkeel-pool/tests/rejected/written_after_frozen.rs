//! A buffer that is frozen is written no more.
//~ error[E0382]: borrow of moved value: `buffer`
use evenkeel_pool::Buffer;

fn write(mut buffer: Buffer) {
    let whole = buffer.freeze();
    buffer.fill_from(b"more");
    drop(whole);
}

fn main() {
    let _: fn(Buffer) = write;
}
