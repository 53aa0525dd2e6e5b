//! Whether a figure grows: a slope that single peaks do not move.

/// Points that slopes are taken between; more are put together by their middle first.
const POINTS_MAX: usize = 150;

/// How much a figure grew over the second half of its samples, by the middle of the slopes between any two of them
/// (Theil and Sen). The first half is for caches and buffers to fill.
pub fn growth(samples: &[(f64, f64)]) -> f64 {
    let half = &samples[samples.len() / 2..];
    let (Some(first), Some(last)) = (half.first(), half.last()) else { return 0.0 };
    slope(&condensed(half)) * (last.0 - first.0)
}

/// A unit a second.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (at, one) in points.iter().enumerate() {
        slopes.extend(points[at + 1..].iter().filter(|two| two.0 > one.0).map(|two| (two.1 - one.1) / (two.0 - one.0)));
    }
    middle(&mut slopes).unwrap_or(0.0)
}

fn condensed(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = samples.len().div_ceil(POINTS_MAX).max(1);
    let point = |some: &[(f64, f64)]| {
        let mut figures: Vec<f64> = some.iter().map(|(_, figure)| *figure).collect();
        Some((some[some.len() / 2].0, middle(&mut figures)?))
    };
    samples.chunks(together).filter_map(point).collect()
}

/// The one in the middle; `None` of nothing.
pub fn middle(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_growth_is_seen_under_noise_and_peaks() {
        let noisy = |at: usize| if at % 50 == 0 { 1e9 } else { (at * 7919 % 13) as f64 };
        let samples: Vec<(f64, f64)> = (0..2000).map(|at| (at as f64, 5.0 * at as f64 + noisy(at))).collect();
        let growth = growth(&samples);
        assert!((growth - 5000.0).abs() < 100.0, "{growth}");
    }

    #[test]
    fn a_figure_that_rests_after_its_first_half_has_not_grown() {
        let samples: Vec<(f64, f64)> = (0..1000).map(|at| (at as f64, at.min(400) as f64)).collect();
        assert_eq!(growth(&samples), 0.0);
        assert_eq!(growth(&[]), 0.0);
        assert_eq!(growth(&samples[..1]), 0.0);
    }
}
