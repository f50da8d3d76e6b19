package org.distilltophone.core;

import java.util.Arrays;

/** Latency of one loaded model on this device: warmed up as benchmark/timing.py does it, then sampled. */
public final class BenchmarkLoop {
    private static final int WARMUP_MAX_RUNS = 500;
    private static final long WARMUP_MAX_NANOS = 3000000000L;

    /** What came out, nanoseconds. */
    public static final class Result {
        /** Inference alone, in the order taken. */
        public final long[] samples;
        public final int warmupRuns;
        public final boolean warmupStable;

        Result(long[] samples, int warmupRuns, boolean warmupStable) {
            this.samples = samples;
            this.warmupRuns = warmupRuns;
            this.warmupStable = warmupStable;
        }

        /** The p-th percentile, 0 to 100, in milliseconds; linear between neighbours, as NumPy has it. */
        public double percentileMs(double p) {
            return percentile(samples, p) / 1e6;
        }
    }

    private BenchmarkLoop() {}

    /**
     * Times inferences of one picture.
     *
     * @param pixels see {@link Preprocessing#pixels}
     * @param runs how many samples, at least 1
     */
    public static Result run(Embedder embedder, byte[] pixels, int runs) {
        if (runs < 1) {
            throw new IllegalArgumentException("runs " + runs);
        }
        embedder.prepare(pixels);
        long[] group = new long[10];
        double before = 0;
        boolean stable = false;
        int warm = 0;
        long begun = System.nanoTime();
        while (!stable && warm < WARMUP_MAX_RUNS && System.nanoTime() - begun < WARMUP_MAX_NANOS) {
            time(embedder, group);
            warm += group.length;
            double median = percentile(group, 50);
            stable = before > 0 && Math.abs(median - before) < 0.02 * before;
            before = median;
        }
        long[] samples = new long[runs];
        time(embedder, samples);
        return new Result(samples, warm, stable);
    }

    /** Fills {@code into} with nanoseconds of one inference each. */
    public static void time(Embedder embedder, long[] into) {
        for (int i = 0; i < into.length; i++) {
            long start = System.nanoTime();
            embedder.invoke();
            into[i] = System.nanoTime() - start;
        }
    }

    /** The p-th percentile, 0 to 100; linear between neighbours. */
    public static double percentile(long[] values, double p) {
        long[] sorted = values.clone();
        Arrays.sort(sorted);
        double at = p / 100 * (sorted.length - 1);
        int low = (int) at;
        int high = Math.min(low + 1, sorted.length - 1);
        return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
    }
}
