package org.distilltophone.app;

import static org.robolectric.Shadows.shadowOf;

import android.net.Uri;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;
import org.junit.Assume;
import org.robolectric.RuntimeEnvironment;

/**
 * A bundle and a gallery in the assets, query images, and what Python finds for them, made by
 * tests/android/test_android_app_build.py. Without it, tests that need a model are skipped.
 */
final class Fixture {
    /** Python's results: ids, best first, and cosines. */
    static final class Expected {
        final List<String> ids = new ArrayList<>();
        final List<Double> scores = new ArrayList<>();
    }

    private final File folder;
    private final JSONObject expected;

    private Fixture(File folder) throws IOException, JSONException {
        this.folder = folder;
        expected = new JSONObject(new String(Files.readAllBytes(folder.toPath().resolve("expected.json")), StandardCharsets.UTF_8));
    }

    static Fixture load() throws Exception {
        String path = System.getProperty("fixture");
        Assume.assumeTrue("no model to test with: run pytest tests/android", path != null && !path.isEmpty());
        DemoApp.engines = new JvmEngines();
        // Threads of an engine wait for each other, which takes long if other tests use the machine.
        Settings.preferences(RuntimeEnvironment.getApplication()).edit().putInt("threads", 1).commit();
        return new Fixture(new File(path));
    }

    /** Returns the number of images in the demo gallery. */
    int galleryCount() throws JSONException {
        return expected.getInt("count");
    }

    /** Returns the names of the query images. */
    List<String> pictures() throws JSONException {
        List<String> names = new ArrayList<>();
        JSONArray all = expected.getJSONObject("pictures").names();
        for (int i = 0; i < all.length(); i++) {
            names.add(all.getString(i));
        }
        names.sort(null);
        return names;
    }

    Expected expected(String picture) throws JSONException {
        JSONArray found = expected.getJSONObject("pictures").getJSONArray(picture);
        Expected out = new Expected();
        for (int i = 0; i < found.length(); i++) {
            out.ids.add(found.getJSONObject(i).getString("id"));
            out.scores.add(found.getJSONObject(i).getDouble("score"));
        }
        return out;
    }

    byte[] bytes(String picture) throws IOException {
        return Files.readAllBytes(folder.toPath().resolve("pictures").resolve(picture));
    }

    /** Images of every kind; NAME.pixels holds the pixels that Python computes for NAME. */
    File kinds() {
        return new File(folder, "kinds");
    }

    /** Shares an image as another app would. */
    Uri share(String picture) throws IOException {
        return share(picture, bytes(picture));
    }

    static Uri share(String name, byte[] content) {
        Uri uri = Uri.parse("content://other.app/" + Uri.encode(name));
        shadowOf(RuntimeEnvironment.getApplication().getContentResolver())
            .registerInputStreamSupplier(uri, () -> new ByteArrayInputStream(content));
        return uri;
    }
}
