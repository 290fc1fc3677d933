use fastrand::Rng;

/// Longer inputs find nothing that shorter ones do not.
const LONGEST: usize = 4_096;

/// Lengths and edges that readers get wrong.
const NUMBERS: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// One of the inputs, changed a few times.
pub(super) fn mutated(pool: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = pool[rng.usize(..pool.len())].clone();
    for _ in 0..=rng.usize(..4) {
        change(&mut input, pool, rng);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    let some = rng.usize(1..=16);
    let end = (at + some).min(input.len());
    match rng.u8(..9) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => input
            .splice(at..at, std::iter::repeat_with(|| rng.u8(..)).take(some))
            .for_each(drop),
        3 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again.repeat(rng.usize(1..8)));
        }
        4 => {
            let other = &pool[rng.usize(..pool.len())];
            let from = rng.usize(..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        5 => overwrite(input, at, &number(rng)),
        6 => overwrite(
            input,
            at,
            &[*rng.choice(b"{}[]\":,*?\\!-^%0").unwrap_or(&0)],
        ),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
    }
}

/// A number of one to eight bytes, in either order.
fn number(rng: &mut Rng) -> Vec<u8> {
    let number = NUMBERS[rng.usize(..NUMBERS.len())].wrapping_add(rng.u64(..3));
    let width = 1 << rng.u8(..4);
    let mut bytes = number.to_le_bytes()[..width].to_vec();
    if rng.bool() {
        bytes.reverse();
    }
    bytes
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in input[at..].iter_mut().zip(bytes) {
        *place = *byte;
    }
}
