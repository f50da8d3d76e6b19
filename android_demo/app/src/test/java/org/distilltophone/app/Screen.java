package org.distilltophone.app;

import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.os.Looper;
import android.view.View;
import android.view.ViewGroup;
import android.widget.TextView;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.concurrent.Callable;

/** Interacts with an activity like a person: look, wait, touch. */
final class Screen {
    private static final long PATIENCE_MS = 120_000;

    private Screen() {}

    /** Runs the main thread until a condition holds; background threads run meanwhile. */
    static void await(String what, Callable<Boolean> so) throws Exception {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (true) {
            shadowOf(Looper.getMainLooper()).idle();
            if (so.call()) {
                return;
            }
            assertTrue("waited in vain: " + what, System.currentTimeMillis() < end);
            Thread.sleep(5);
        }
    }

    static String text(Activity activity, int id) {
        return ((TextView) activity.findViewById(id)).getText().toString();
    }

    static boolean shown(Activity activity, int id) {
        return activity.findViewById(id).isShown();
    }

    static void touch(Activity activity, int id) {
        View view = activity.findViewById(id);
        assertTrue("visible: " + activity.getResources().getResourceName(id), view.isShown() && view.isEnabled());
        assertTrue(view.performClick());
        shadowOf(Looper.getMainLooper()).idle();
    }

    /** Lays out the window, which Robolectric omits when an activity is recreated. Sizes in dp. */
    static void layOut(Activity activity, int width, int height) {
        float density = activity.getResources().getDisplayMetrics().density;
        View all = activity.getWindow().getDecorView();
        int w = Math.round(width * density);
        int h = Math.round(height * density);
        all.measure(View.MeasureSpec.makeMeasureSpec(w, View.MeasureSpec.EXACTLY),
            View.MeasureSpec.makeMeasureSpec(h, View.MeasureSpec.EXACTLY));
        all.layout(0, 0, w, h);
    }

    /** Saves a screenshot as PNG. */
    static Bitmap shoot(Activity activity, String name) throws IOException {
        shadowOf(Looper.getMainLooper()).idle();
        View all = activity.getWindow().getDecorView();
        Bitmap bitmap = Bitmap.createBitmap(all.getWidth(), all.getHeight(), Bitmap.Config.ARGB_8888);
        all.draw(new Canvas(bitmap));
        File folder = new File(System.getProperty("screenshots"));
        assertTrue(folder.isDirectory() || folder.mkdirs());
        try (FileOutputStream out = new FileOutputStream(new File(folder, name + ".png"))) {
            bitmap.compress(Bitmap.CompressFormat.PNG, 100, out);
        }
        return bitmap;
    }

    /** Returns the view and all its descendants. */
    static void each(View view, java.util.function.Consumer<View> look) {
        look.accept(view);
        if (view instanceof ViewGroup) {
            for (int i = 0; i < ((ViewGroup) view).getChildCount(); i++) {
                each(((ViewGroup) view).getChildAt(i), look);
            }
        }
    }
}
