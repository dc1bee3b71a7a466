//! What the macro says about wrong arguments, and where.

#[test]
fn errors_point_at_the_argument() {
    trybuild::TestCases::new().compile_fail("tests/errors/*.rs");
}
