//! Times an emitted network.

#[allow(dead_code)]
mod network;
#[allow(dead_code)]
mod worker;

const fn len(shape: &[usize]) -> usize {
    let (mut product, mut i) = (1, 0);
    while i < shape.len() {
        product *= shape[i];
        i += 1;
    }
    product
}

fn main() {
    let mut arena = Box::new(network::Arena::new());
    let mut input = Box::new([0_u8; len(network::INPUT.shape)]);
    let mut output = Box::new([0_u8; len(network::OUTPUT.shape)]);
    // Any input takes the same time.
    for (x, byte) in input.iter_mut().zip(worker::bytes()) {
        *x = byte;
    }
    worker::serve(|| network::run(&input, &mut output, &mut arena));
}
