//! The axis of a picture: where it begins and ends, and its ticks.

/// Ticks of an axis, at most, beside that of zero.
const TICKS: f64 = 4.0;
/// Larger values are drawn as this: the arithmetic of an axis stays finite.
const LARGEST: f64 = 1e300;
/// Values that differ by less are drawn as equal.
const SMALLEST: f64 = 1e-300;

/// An axis that holds zero and all finite values, and begins and ends at a tick.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) ticks: Vec<f64>,
    low: f64,
    high: f64,
}

impl Axis {
    /// For these values, with ticks; what is no number counts for nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high, is_whole) = extremes(values);
        let step = step((high - low) / TICKS, is_whole);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let mut ticks = Vec::new();
        let mut at = first;
        while at <= last {
            ticks.push(at * step);
            at += 1.0;
        }
        Self {
            low: first * step,
            high: last * step,
            ticks,
        }
    }

    /// For these values, without ticks: the longest bar ends where the axis does.
    pub(super) fn of_bars(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high, _) = extremes(values);
        Self {
            low,
            high,
            ticks: Vec::new(),
        }
    }

    /// Where a value lies, in percent from the low end.
    pub(super) fn percent(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        // Halves first: the difference of two large numbers may be none.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        share * 100.0
    }

    /// Where the bar of a value begins and how long it is, in percent from the low end; none: it is no number.
    pub(super) fn bar(&self, value: f64) -> Option<(f64, f64)> {
        if value.is_nan() {
            return None;
        }
        let (zero, end) = (self.percent(0.0), self.percent(value));
        Some((zero.min(end), (end - zero).abs()))
    }
}

/// The least and the greatest of zero and these values, with room between them, and whether all are whole.
fn extremes(values: impl IntoIterator<Item = f64>) -> (f64, f64, bool) {
    let (mut low, mut high, mut is_whole) = (0.0_f64, 0.0_f64, true);
    for value in values.into_iter().filter(|value| value.is_finite()) {
        low = low.min(value.max(-LARGEST));
        high = high.max(value.min(LARGEST));
        is_whole &= value.fract() == 0.0;
    }
    if high - low < SMALLEST {
        high = low + 1.0;
    }
    (low, high, is_whole)
}

/// The nearest step of 1, 2 or 5 times a power of ten that is not smaller.
fn step(least: f64, is_whole: bool) -> f64 {
    let power = 10.0_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = (steps.into_iter().find(|step| *step >= least)).unwrap_or(10.0 * power);
    if is_whole { step.max(1.0) } else { step }
}

/// A percentage as an attribute of SVG, short.
pub(super) fn attribute(percent: f64) -> String {
    let text = format!("{percent:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        let ticks = |values: &[f64]| Axis::of(values.iter().copied()).ticks;
        assert_eq!(ticks(&[]), [0.0, 1.0]);
        assert_eq!(ticks(&[0.0]), [0.0, 1.0]);
        assert_eq!(ticks(&[3.0]), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(ticks(&[97.0]), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(&[-30.0, 97.0]), [-50.0, 0.0, 50.0, 100.0]);
        assert_eq!(ticks(&[1234.0]), [0.0, 500.0, 1000.0, 1500.0]);
        assert_eq!(ticks(&[f64::NAN, f64::INFINITY, 2.0]), [0.0, 1.0, 2.0]);
    }

    proptest! {
        #[test]
        fn an_axis_holds_zero_and_every_value(values in prop::collection::vec(any::<f64>(), 0..40)) {
            let axis = Axis::of(values.iter().copied());
            prop_assert!((2..=7).contains(&axis.ticks.len()), "{:?}", axis);
            prop_assert!(axis.ticks.iter().all(|tick| tick.is_finite()));
            prop_assert!(axis.ticks.is_sorted());
            prop_assert!(axis.ticks.contains(&0.0));
            for value in values {
                match axis.bar(value) {
                    None => prop_assert!(value.is_nan()),
                    Some((start, length)) => {
                        prop_assert!((0.0..=100.0).contains(&start), "{} {}", start, length);
                        prop_assert!((0.0..=100.001).contains(&(start + length)), "{} {}", start, length);
                        prop_assert!(!attribute(length).contains(['e', 'N', 'i']));
                    }
                }
            }
        }

        #[test]
        fn a_larger_value_has_a_longer_bar(one in 0.0..1e12_f64, other in 0.0..1e12_f64) {
            let axis = Axis::of([one, other]);
            let length = |value| axis.bar(value).unwrap().1;
            prop_assert_eq!(one <= other, length(one) <= length(other));
        }
    }
}
