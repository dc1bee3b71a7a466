//! Shows a digit and what the network takes it for.

/// Ink from 0 to 16, as hexadecimal digits; `g` is 16.
const PICTURE: &str = "\
    005d9100\
    00dfaf50\
    03f20b80\
    04c00880\
    05800980\
    04b01c70\
    02e5ac00\
    006da000";

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() {
    let mut pixels = [0.0; 64];
    for (pixel, ink) in pixels.iter_mut().zip(PICTURE.chars()) {
        *pixel = ink.to_digit(17).expect("ink is 0..=g") as f32;
    }
    for row in PICTURE.as_bytes().chunks(8) {
        println!("{}", String::from_utf8_lossy(row).replace('0', "."));
    }
    println!("This is a {}.", example_digits::recognise(&pixels));
}
