package org.distilltophone.runner;

import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.LinkedHashMap;
import java.util.Map;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.TensorCodec;
import org.distilltophone.core.Embedder;
import org.distilltophone.core.TensorSpec;

/** The models of a job, ready to open. */
final class Variants {
    /** One model. */
    private static final class One {
        final String format;
        final ByteBuffer model;
        final TensorSpec input;
        final TensorSpec output;
        final float[][] table;
        final String delegate;

        One(String format, ByteBuffer model, TensorSpec input, TensorSpec output, float[][] table, String delegate) {
            this.delegate = delegate;
            this.format = format;
            this.model = model;
            this.input = input;
            this.output = output;
            this.table = table;
        }
    }

    private static final String DEFAULT_DELEGATE = "xnnpack";

    private final EngineOpener engine;
    private final int threads;
    private final Map<String, One> all = new LinkedHashMap<String, One>();

    /** Reads all files, so that damage is found before the work starts. */
    Variants(Store store, JsonObject job, EngineOpener engine) throws IOException, Store.Damaged {
        this.engine = engine;
        threads = job.get("threads").asInt();
        for (JsonObject.Member member : job.get("variants").asObject()) {
            JsonObject variant = member.getValue().asObject();
            ByteBuffer model = store.content(variant.get("model").asString());
            TensorSpec input = TensorSpec.parse(variant.get("input").toString(), true);
            TensorSpec output = TensorSpec.parse(variant.get("output").toString(), false);
            all.put(member.getName(), new One(variant.get("format").asString(), model, input, output,
                table(store.array(variant.get("table").asString()), input), variant.getString("delegate", DEFAULT_DELEGATE)));
        }
    }

    /** Reads the input table, {@code [256, 3]} in the input's type. Python computes it, so the rounding is Python's. */
    private static float[][] table(Npy file, TensorSpec input) throws IOException {
        String type = input.isFloat() ? "f4" : input.dtype.equals("int8") ? "i1" : "u1";
        if (!file.type.equals(type) || file.shape.length != 2 || file.shape[0] != 256 || file.shape[1] != 3) {
            throw new BadFileException("a table of another type or shape", "update distill-to-phone");
        }
        ByteBuffer values = file.values.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        float[][] table = new float[3][256];
        for (int value = 0; value < 256; value++) {
            for (int channel = 0; channel < 3; channel++) {
                float one = type.equals("f4") ? values.getFloat() : values.get();
                table[channel][value] = type.equals("u1") ? (int) one & 255 : one;
            }
        }
        return table;
    }

    Iterable<String> names() {
        return all.keySet();
    }

    /** Opens a model; close the embedder after use. */
    Embedder open(String name) throws IOException {
        One one = all.get(name);
        if (!one.format.equals(engine.format())) {
            throw new IOException("no engine here runs '" + one.format + "'");
        }
        return new Embedder(new TensorCodec(one.input, one.output, one.table),
            engine.open(one.model, one.input, one.output, threads, one.delegate));
    }

    /** Returns the number of bytes of one preprocessed image. */
    int pixelBytes(String name) {
        TensorSpec input = all.get(name).input;
        return input.bytes() / (input.isFloat() ? 4 : 1);
    }

    /** Returns the first line of an error for a result. */
    static String reason(Throwable error) {
        String text = error.getMessage() == null ? "" : error.getMessage().trim();
        return text.isEmpty() ? error.getClass().getSimpleName() : text.split("\n")[0];
    }
}
