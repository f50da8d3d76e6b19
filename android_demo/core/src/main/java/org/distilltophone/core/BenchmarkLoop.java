package org.distilltophone.core;

/** Latency of one loaded model on this device: warmed up, then sampled. */
public final class BenchmarkLoop {
    /** What came out, nanoseconds. */
    public static final class Result {
        /** Inference alone, in the order taken. */
        public final long[] samples;
        public final boolean warmupStable;

        Result(long[] samples, boolean warmupStable) {
            this.samples = samples;
            this.warmupStable = warmupStable;
        }

        /** The p-th percentile, 0 to 100, in milliseconds; linear between neighbours, as NumPy has it. */
        public double percentileMs(double p) {
            long[] sorted = samples.clone();
            java.util.Arrays.sort(sorted);
            double at = p / 100 * (sorted.length - 1);
            int low = (int) at;
            int high = Math.min(low + 1, sorted.length - 1);
            return (sorted[low] + (at - low) * (sorted[high] - sorted[low])) / 1e6;
        }
    }

    private BenchmarkLoop() {}

    /**
     * Times {@code runs} inferences of one picture, after a warm-up as benchmark/timing.py has it.
     *
     * @param pixels see {@link Preprocessing#pixels}
     */
    public static Result run(Embedder embedder, byte[] pixels, int runs) {
        throw new UnsupportedOperationException();
    }
}
