package org.distilltophone.runner;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonArray;
import com.eclipsesource.json.JsonObject;
import com.eclipsesource.json.JsonValue;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.distilltophone.core.Embedder;

/**
 * Measures the latency of several models in turns, by the rules of benchmark/timing.py and benchmark/devices/work.py, which
 * explain them. The order of the turns is drawn with Java's random generator, so a seed gives another order than in Python.
 */
final class Latency {
    private static final double DRIFT_LIMIT = 0.05;
    private static final int OVERHEAD_RUNS = 10000;
    private static final int WARMUP_GROUP = 10;
    private static final long CONTROL_NANOS = 250000000;

    /** Receives the progress, 0 to 1. */
    interface Show {
        void share(double share);
    }

    /** A model and its times. */
    private static final class Timed {
        final Embedder embedder;
        final double initMs;
        final double firstRunMs;
        final Times invoke = new Times();
        final Times endToEnd = new Times();
        int warmupRuns;
        boolean warmupStable;

        Timed(Embedder embedder, double initMs, double firstRunMs) {
            this.embedder = embedder;
            this.initMs = initMs;
            this.firstRunMs = firstRunMs;
        }
    }

    /** A growing list of times in nanoseconds. */
    private static final class Times {
        private long[] values = new long[4096];
        private int size;

        void add(long value) {
            if (size == values.length) {
                values = Arrays.copyOf(values, 2 * size);
            }
            values[size++] = value;
        }

        long[] get() {
            return Arrays.copyOf(values, size);
        }
    }

    private final JsonObject plan;
    private final byte[] pixels;
    private final int pixelBytes;
    private final Map<String, Timed> models = new LinkedHashMap<String, Timed>();
    private final JsonObject timings = new JsonObject();
    private final int block;
    private final int pairs;

    /**
     * @param plan fields of {@code Plan}; "cpus" is only reported, because the shell that starts this process sets them
     * @param pixels uint8, images of {@code pixelBytes} bytes each, one after another
     */
    Latency(JsonObject plan, byte[] pixels, int pixelBytes) {
        this.plan = plan;
        this.pixels = pixels;
        this.pixelBytes = pixelBytes;
        block = plan.get("block").asInt();
        pairs = plan.get("end_to_end").asInt();
    }

    /** Runs a latency job and returns its answer. */
    JsonObject run(Variants variants, Show show) {
        for (String name : variants.names()) {
            try {
                models.put(name, open(variants, name));
            } catch (IOException | RuntimeException error) {
                timings.add(name, timing(Json.NULL, Json.NULL, Json.NULL, Json.value(Variants.reason(error))));
            }
        }
        JsonValue conduct = models.isEmpty() ? Json.NULL : interleave(show);
        for (Map.Entry<String, Timed> entry : models.entrySet()) {
            Timed model = entry.getValue();
            JsonObject samples = new JsonObject().add("invoke", array(model.invoke.get()))
                .add("end_to_end", array(model.endToEnd.get())).add("warmup_runs", model.warmupRuns)
                .add("warmup_stable", model.warmupStable);
            timings.add(entry.getKey(), timing(samples, Json.value(model.initMs), Json.value(model.firstRunMs), Json.NULL));
            model.embedder.close();
        }
        return new JsonObject().add("timings", timings).add("conduct", conduct);
    }

    private static JsonObject timing(JsonValue samples, JsonValue initMs, JsonValue firstRunMs, JsonValue error) {
        return new JsonObject().add("samples", samples).add("init_ms", initMs).add("first_run_ms", firstRunMs).add("error", error);
    }

    private static JsonArray array(long[] values) {
        JsonArray out = new JsonArray();
        for (long value : values) {
            out.add(value);
        }
        return out;
    }

    private Timed open(Variants variants, String name) throws IOException {
        // The first opening includes loading the engine and reading the disk. The second is what later starts see.
        variants.open(name).close();
        long begun = System.nanoTime();
        Embedder embedder = variants.open(name);
        long opened = System.nanoTime();
        embedder.prepare(pixels, 0);
        embedder.invoke();
        long ran = System.nanoTime();
        return new Timed(embedder, thousandths((opened - begun) / 1e6), thousandths((ran - opened) / 1e6));
    }

    private static double thousandths(double value) {
        return Math.rint(value * 1000) / 1000;
    }

    private JsonObject interleave(Show show) {
        JsonValue loadBefore = load();
        double overhead = overhead();
        for (Timed model : models.values()) {
            model.embedder.prepare(pixels, 0);
            warmUp(model);
        }
        List<Timed> order = new ArrayList<Timed>(models.values());
        String first = models.keySet().iterator().next();
        Random random = new Random(plan.get("seed").asLong());
        System.gc(); // now, rather than during a timed block
        double before = control(models.get(first));
        long begun = System.nanoTime();
        double seconds = plan.get("seconds").asDouble();
        double rest = plan.getDouble("rest_ms", 0);
        int least = plan.get("min_samples").asInt();
        int most = plan.get("max_samples").asInt();
        int rounds = 0;
        double elapsed;
        int taken;
        do {
            int image = rounds % (pixels.length / pixelBytes) * pixelBytes;
            java.util.Collections.shuffle(order, random);
            for (Timed model : order) {
                turn(model, image);
            }
            rounds++;
            pause(rest);
            taken = rounds * block;
            elapsed = (System.nanoTime() - begun) / 1e9;
            show.share(Math.max((double) taken / most, Math.min(elapsed / Math.max(seconds, 1e-9), (double) taken / least)));
        } while (taken < most && (elapsed < seconds || taken < least));
        double after = control(models.get(first));
        double drift = before > 0 ? after / before - 1 : 0;
        return new JsonObject().add("threads", plan.get("threads")).add("seed", plan.get("seed")).add("rounds", rounds)
            .add("seconds", thousandths(elapsed)).add("timer_overhead_ns", overhead).add("drift_variant", first)
            .add("drift", Math.rint(drift * 1e4) / 1e4).add("drift_flagged", Math.abs(drift) > DRIFT_LIMIT)
            .add("load_before", loadBefore).add("load_after", load()).add("cpus", cpus()).add("rest_ms", rest);
    }

    private JsonValue cpus() {
        JsonValue found = plan.get("cpus");
        return found == null || found.asArray().isEmpty() ? Json.NULL : found;
    }

    private static void pause(double milliseconds) {
        if (milliseconds > 0) {
            try {
                Thread.sleep((long) milliseconds, (int) (milliseconds % 1 * 1e6));
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private void turn(Timed model, int image) {
        Embedder embedder = model.embedder;
        embedder.prepare(pixels, image);
        embedder.invoke(); // untimed: the other models have evicted it from the caches
        block(embedder, block, model.invoke);
        for (int i = 0; i < pairs; i++) {
            long start = System.nanoTime();
            embedder.prepare(pixels, image);
            embedder.invoke();
            model.endToEnd.add(System.nanoTime() - start);
        }
    }

    private static void block(Embedder embedder, int count, Times into) {
        for (int i = 0; i < count; i++) {
            long start = System.nanoTime();
            embedder.invoke();
            into.add(System.nanoTime() - start);
        }
    }

    private void warmUp(Timed model) {
        int most = plan.get("warmup_max_runs").asInt();
        double nanos = plan.get("warmup_max_seconds").asDouble() * 1e9;
        long begun = System.nanoTime();
        double before = 0;
        while (model.warmupRuns < most && System.nanoTime() - begun < nanos && !model.warmupStable) {
            Times times = new Times();
            block(model.embedder, WARMUP_GROUP, times);
            model.warmupRuns += WARMUP_GROUP;
            double median = median(times.get());
            model.warmupStable = before > 0 && Math.abs(median - before) < 0.02 * before;
            before = median;
        }
    }

    /** Returns the median of a block long enough to outlast a short disturbance. */
    private double control(Timed model) {
        model.embedder.invoke();
        Times times = new Times();
        long begun = System.nanoTime();
        while (times.size < 5 * block || System.nanoTime() - begun < CONTROL_NANOS) {
            block(model.embedder, block, times);
        }
        return median(times.get());
    }

    private static double overhead() {
        long[] times = new long[OVERHEAD_RUNS];
        for (int i = 0; i < times.length; i++) {
            long start = System.nanoTime();
            times[i] = System.nanoTime() - start;
        }
        return median(times);
    }

    private static double median(long[] values) {
        long[] sorted = values.clone();
        Arrays.sort(sorted);
        int middle = sorted.length / 2;
        return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2.0;
    }

    private static JsonValue load() {
        try (BufferedReader in = new BufferedReader(
                new InputStreamReader(new FileInputStream("/proc/loadavg"), StandardCharsets.US_ASCII))) {
            return Json.value(Double.parseDouble(in.readLine().split(" ")[0]));
        } catch (IOException | RuntimeException unreported) { // Android hides it from apps
            return Json.NULL;
        }
    }
}
