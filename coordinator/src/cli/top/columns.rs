//! Which columns there is room for, and how wide they are. Pure.

/// `least` characters wide, and `share` parts of what is left over. Where there is too little room, those that `goes` first are
/// left out: the highest number first, never 0.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub head: &'static str,
    pub least: u16,
    pub share: u16,
    pub goes: u8,
}

/// Between two columns.
pub const GAP: u16 = 1;

/// Places in `all` and widths, for `width` characters.
pub fn fit(all: &[Column], width: u16) -> Vec<(usize, u16)> {
    let mut kept: Vec<usize> = (0..all.len()).collect();
    let of = |kept: &[usize]| kept.iter().filter_map(|at| all.get(*at)).copied().collect::<Vec<Column>>();
    let need = |kept: &[usize]| {
        let gaps = GAP.saturating_mul(u16::try_from(kept.len().saturating_sub(1)).unwrap_or(u16::MAX));
        of(kept).iter().fold(gaps, |sum, column| sum.saturating_add(column.least))
    };
    while need(&kept) > width {
        let last = of(&kept).iter().map(|column| column.goes).max().filter(|goes| *goes > 0);
        let Some(last) = last else { break };
        kept.retain(|at| all.get(*at).is_some_and(|column| column.goes != last));
    }
    let spare = u32::from(width.saturating_sub(need(&kept)));
    let shares: u32 = of(&kept).iter().map(|column| u32::from(column.share)).sum();
    let wide = |column: Column| {
        let more = spare.saturating_mul(column.share.into()).checked_div(shares).unwrap_or(0);
        column.least.saturating_add(u16::try_from(more).unwrap_or(u16::MAX))
    };
    kept.iter().zip(of(&kept)).map(|(at, column)| (*at, wide(column))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Column; 4] = [
        Column { head: "A", least: 10, share: 2, goes: 0 },
        Column { head: "B", least: 8, share: 0, goes: 1 },
        Column { head: "C", least: 10, share: 1, goes: 2 },
        Column { head: "D", least: 6, share: 0, goes: 0 },
    ];

    #[test]
    fn what_matters_least_goes_first_and_all_of_the_width_is_used_never_more() {
        for width in 0..200 {
            let found = fit(&ALL, width);
            let places: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
            let used: u16 = found.iter().map(|(_, wide)| wide).sum::<u16>() + GAP * (found.len() as u16 - 1);
            let expected: &[usize] = match width {
                37.. => &[0, 1, 2, 3],
                26.. => &[0, 1, 3],
                _ => &[0, 3],
            };
            assert_eq!(places, expected, "{width}");
            assert!(width < 17 || used <= width && used + 3 > width, "{used} of {width}");
        }
    }
}
