package org.distilltophone.runner;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonArray;
import com.eclipsesource.json.JsonObject;
import com.eclipsesource.json.JsonValue;
import com.eclipsesource.json.ParseException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.distilltophone.core.Embedder;
import org.distilltophone.core.ImageFileDecoder;

/**
 * Reads a job (JSON on stdin) and writes results (files, announced on stdout): the protocol of benchmark/devices/runner.py for
 * devices without Python.
 *
 * <p>{@code describe|latency|embed|memory|sustain FOLDER}
 */
public final class Runner {
    private static final String MARK = "@distill-bench ";
    private static final long SHOW_NANOS = 1000000000L; // rarely: interrupts of the cable would disturb the timing

    private final EngineOpener engine;
    private final ImageFileDecoder decoder;
    private PrintStream out;
    private String chunk = ""; // the chunk being embedded

    /** @param decoder used for jobs with encoded images */
    public Runner(EngineOpener engine, ImageFileDecoder decoder) {
        this.engine = engine;
        this.decoder = decoder;
    }

    /**
     * Runs one command.
     *
     * @return exit status
     */
    public int run(String[] arguments, InputStream in, PrintStream stdout) {
        out = stdout;
        if (arguments.length != 2) {
            System.err.println("usage: describe|latency|embed|memory|sustain FOLDER");
            return 2;
        }
        try {
            if (arguments[0].equals("describe")) {
                JsonObject packages = engine.packages().add(decoder.name(), decoder.version());
                tell(new JsonObject().add("machine", new JsonObject().add("packages", packages)));
                return 0;
            }
            Store store = new Store(arguments[1]);
            try (RandomAccessFile held = store.lock()) {
                JsonObject job = Json.parse(new InputStreamReader(in, StandardCharsets.UTF_8)).asObject();
                work(arguments[0], store, job);
            }
            return 0;
        } catch (Store.Damaged damaged) {
            tell(new JsonObject().add("damaged", damaged.getMessage()));
        } catch (EncodedImages.Undecodable bad) {
            tell(new JsonObject().add("error", "cannot be decoded there: " + bad.getMessage()).add("picture", bad.number)
                .add("of", chunk));
        } catch (IOException | ParseException | UnsupportedOperationException | NullPointerException error) {
            // The last two: the job lacks a field, or a field has the wrong type.
            tell(new JsonObject().add("error", Variants.reason(error)));
        } catch (LinkageError error) { // its library is missing or built for another processor
            tell(new JsonObject().add("error", "the engine does not load: " + Variants.reason(error)));
        }
        return 1;
    }

    private void work(String command, Store store, JsonObject job) throws IOException, Store.Damaged, EncodedImages.Undecodable {
        switch (command) {
            case "latency": latency(store, job); return;
            case "embed": embed(store, job); return;
            case "memory": memory(store, job); return;
            case "sustain": sustain(store, job); return;
            default: throw new IOException("unknown command " + command);
        }
    }

    /** Sends one line to the host. Exits if the host no longer listens. */
    private void tell(JsonObject message) {
        out.println(MARK + message);
        out.flush();
        if (out.checkError()) {
            System.exit(1);
        }
    }

    private void save(Store store, String key, byte[] data) throws IOException {
        tell(new JsonObject().add("result", key).add("sha256", store.save(key, data)));
    }

    private void latency(Store store, JsonObject job) throws IOException, Store.Damaged {
        Variants variants = new Variants(store, job, engine);
        Npy pixels = store.array(job.get("pixels").asString());
        byte[] all = bytes(pixels);
        int each = all.length / Math.max(1, pixels.shape[0]);
        JsonObject answer = new Latency(job.get("plan").asObject(), all, each).run(variants, new Latency.Show() {
            private long told = System.nanoTime();

            @Override
            public void share(double share) {
                if (System.nanoTime() - told > SHOW_NANOS) {
                    tell(new JsonObject().add("share", Math.rint(share * 1e4) / 1e4));
                    told = System.nanoTime();
                }
            }
        });
        save(store, job.get("key").asString(), answer.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static byte[] bytes(Npy pixels) throws IOException {
        if (!pixels.type.equals("u1") || pixels.shape.length != 4) {
            throw new IOException("pixels of another type or shape");
        }
        byte[] out = new byte[pixels.values.remaining()];
        pixels.values.duplicate().get(out);
        return out;
    }

    private void embed(Store store, JsonObject job) throws IOException, Store.Damaged, EncodedImages.Undecodable {
        Variants variants = new Variants(store, job, engine);
        Map<String, Embedder> open = new LinkedHashMap<String, Embedder>();
        JsonValue golden = job.get("golden"); // null: the bundle has no hashes of its input tensors
        Npy images = golden == null ? null : store.array(golden.asObject().get("pixels").asString());
        for (String name : variants.names()) {
            try {
                Embedder embedder = variants.open(name);
                open.put(name, embedder);
                JsonValue hashes = golden == null ? null : golden.asObject().get("input_sha256").asObject().get(name);
                if (hashes != null && !sameInputs(embedder, images, hashes.asArray())) {
                    open.remove(name).close();
                    throw new IOException("the input tensors of the golden images are not those of the export (run distill-export verify)");
                }
            } catch (IOException | RuntimeException error) {
                failed(name, error);
            }
        }
        for (JsonValue value : job.get("chunks").asArray()) {
            embedChunk(store, job, value.asObject(), variants, open);
            tell(new JsonObject().add("step", 1));
        }
        for (Embedder embedder : open.values()) {
            embedder.close();
        }
    }

    /** Returns whether the input tensors of all images have these SHA-256. */
    private static boolean sameInputs(Embedder embedder, Npy images, JsonArray hashes) throws IOException {
        byte[] all = bytes(images);
        byte[] one = new byte[all.length / Math.max(1, hashes.size())];
        boolean same = images.shape[0] == hashes.size();
        for (int i = 0; same && i < hashes.size(); i++) {
            System.arraycopy(all, i * one.length, one, 0, one.length);
            same = embedder.inputSha256(one).equals(hashes.get(i).asString());
        }
        return same;
    }

    private void embedChunk(Store store, JsonObject job, JsonObject one, Variants variants, Map<String, Embedder> open)
            throws IOException, Store.Damaged, EncodedImages.Undecodable {
        chunk = one.get("pixels").asString();
        byte[] all;
        int count;
        if (one.get("sizes") == null) {
            Npy pixels = store.array(chunk);
            all = bytes(pixels);
            count = pixels.shape[0];
        } else {
            EncodedImages images = EncodedImages.read(store.content(chunk), one.get("sizes").asArray(), job.get("preprocessing").asObject(), decoder);
            all = images.pixels;
            count = images.count;
            save(store, one.get("times").asString(), Npy.write(images.millis, 2));
        }
        for (JsonObject.Member key : one.get("keys").asObject()) {
            Embedder embedder = open.get(key.getName());
            if (embedder == null) {
                continue;
            }
            byte[] rows;
            try {
                rows = rows(embedder, all, count, variants.pixelBytes(key.getName()));
            } catch (RuntimeException error) {
                failed(key.getName(), error);
                open.remove(key.getName()).close();
                continue;
            }
            save(store, key.getValue().asString(), rows);
        }
    }

    private void failed(String name, Exception error) {
        tell(new JsonObject().add("failed", name).add("error", Variants.reason(error)));
    }

    private static byte[] rows(Embedder embedder, byte[] pixels, int count, int each) {
        if ((long) count * each != pixels.length) {
            throw new IllegalArgumentException("pixels of " + pixels.length / Math.max(1, count) + " bytes, the model takes " + each);
        }
        float[][] rows = new float[count][];
        for (int i = 0; i < count; i++) {
            embedder.prepare(pixels, i * each);
            embedder.invoke();
            rows[i] = embedder.result();
        }
        return Npy.write(rows, embedder.dimension());
    }

    private void sustain(Store store, JsonObject job) throws IOException, Store.Damaged {
        Variants variants = new Variants(store, job, engine);
        String name = variants.names().iterator().next();
        try {
            tell(Sustained.run(variants, name, job.get("seconds").asDouble()));
        } catch (IOException | RuntimeException error) {
            failed(name, error);
        }
    }

    private void memory(Store store, JsonObject job) throws IOException, Store.Damaged {
        Variants variants = new Variants(store, job, engine);
        String name = variants.names().iterator().next();
        try {
            engine.load();
            JsonValue found = Memory.measure(variants, name);
            tell(new JsonObject().add("memory", found));
        } catch (IOException | RuntimeException error) {
            failed(name, error);
        }
    }
}
