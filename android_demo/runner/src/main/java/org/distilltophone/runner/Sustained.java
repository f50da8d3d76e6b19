package org.distilltophone.runner;

import com.eclipsesource.json.JsonObject;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.distilltophone.core.Embedder;

/** Runs a model without pauses while the shell of this process reads the battery (benchmark/devices/power.py). */
final class Sustained {
    private static final int WARM_UP = 10;

    private Sustained() {}

    /** Returns the number of runs in {@code seconds}, with start and end on the clock of {@code /proc/uptime}. */
    static JsonObject run(Variants variants, String name, double seconds) throws IOException {
        try (Embedder embedder = variants.open(name)) {
            embedder.prepare(new byte[variants.pixelBytes(name)]);
            for (int i = 0; i < WARM_UP; i++) {
                embedder.invoke();
            }
            int ran = 0;
            double begun = uptime();
            long start = System.nanoTime();
            for (long nanos = (long) (seconds * 1e9); System.nanoTime() - start < nanos; ran++) {
                embedder.invoke();
            }
            return new JsonObject().add("ran", ran).add("begun", begun).add("ended", uptime());
        }
    }

    private static double uptime() throws IOException {
        try (BufferedReader in = new BufferedReader(
                new InputStreamReader(new FileInputStream("/proc/uptime"), StandardCharsets.US_ASCII))) {
            return Double.parseDouble(in.readLine().split(" ")[0]);
        }
    }
}
