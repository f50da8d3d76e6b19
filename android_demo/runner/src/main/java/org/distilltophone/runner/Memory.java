package org.distilltophone.runner;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonObject;
import com.eclipsesource.json.JsonValue;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.distilltophone.core.Embedder;

/** Measures the peak resident memory of this process, as benchmark/devices/work.py does. */
final class Memory {
    private static final int RUNS = 3;

    private Memory() {}

    /** Returns the memory of a model; null if the system does not report it. */
    static JsonValue measure(Variants variants, String name) throws IOException {
        System.gc();
        if (!resetPeak()) {
            return Json.NULL;
        }
        long before = status("VmRSS:");
        try (Embedder embedder = variants.open(name)) {
            embedder.prepare(new byte[variants.pixelBytes(name)]);
            for (int i = 0; i < RUNS; i++) {
                embedder.invoke();
            }
            long after = status("VmHWM:");
            if (before < 0 || after < 0) {
                return Json.NULL;
            }
            return new JsonObject().add("added", Math.max(0, after - before)).add("process", after);
        }
    }

    private static boolean resetPeak() {
        try (FileOutputStream out = new FileOutputStream("/proc/self/clear_refs")) {
            out.write('5');
            return true;
        } catch (IOException forbidden) {
            return false;
        }
    }

    private static long status(String key) throws IOException {
        try (BufferedReader in = new BufferedReader(
                new InputStreamReader(new FileInputStream("/proc/self/status"), StandardCharsets.US_ASCII))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                if (line.startsWith(key)) {
                    return Long.parseLong(line.substring(key.length()).trim().split(" ")[0]) * 1024;
                }
            }
        }
        return -1;
    }
}
